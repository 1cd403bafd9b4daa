"""Measurements of the engine as a table, and lesions as lines at their place in the patient."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

sys.path.insert(0, str(Path(__file__).parent))

from helpers import TUMOUR, ct_node, labels_array, labels_for, rotation

from FlarePanCancerLib import results
from FlarePanCancerLib import scene as segments
from FlarePanCancerLib.mrml_conversion import volume_of
from FlarePanCancerLib.remeasure import measure_again
from FlarePanCancerLib.run import Callbacks, Outcome, _IntoScene
from flareseg.labels import structures
from flareseg.results.measure import COLUMNS, measure
from flareseg.segmentation import Segmentation

ARRAY = labels_array()


@pytest.fixture
def a_ct(scene):
    return ct_node(np.where(ARRAY == TUMOUR, 30, 100).astype(np.int16))


@pytest.fixture
def rows(a_ct):
    volume = volume_of(a_ct)
    return [row.as_row() for row in measure(Segmentation(ARRAY, volume.geometry, structures(), "CT"), volume)]


@pytest.fixture
def a_segmentation(a_ct, tmp_path):
    node = segments.new_segmentation(a_ct)
    segments.fill(node, labels_for(a_ct, ARRAY, tmp_path))
    return node


def column(table, name):
    array = table.GetTable().GetColumnByName(name)
    return [array.GetValue(index) for index in range(array.GetNumberOfValues())]


def test_the_table_has_the_columns_and_rows_of_the_engine(rows, a_segmentation):
    table = results.write_table(rows, a_segmentation)
    names = [table.GetTable().GetColumnName(n) for n in range(table.GetTable().GetNumberOfColumns())]
    assert tuple(names) == COLUMNS
    assert column(table, "structure") == [row["structure"] for row in rows]
    assert column(table, "volume_ml") == [row["volume_ml"] for row in rows]
    assert column(table, "host")[-1] == "liver"
    assert table.GetColumnProperty("volume_ml", "unit") == "ml"
    assert table.GetColumnProperty("hu_p95", "unit") == "HU"
    assert results.rows_of(table) == rows


def test_the_measurements_are_read_from_the_table_as_they_were(rows, a_segmentation):
    assert results.rows_of(results.write_table(rows, a_segmentation)) == [
        {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()} for row in rows
    ]


def test_what_dsc_was_expected_outlives_the_scene_as_a_number_or_none(rows, a_ct, a_segmentation):
    given = [row | {"expected_dsc": {"liver": 0.93, "spleen": 0.55}.get(row["structure"])} for row in rows]
    table = results.write_table(given, a_segmentation)
    assert table.GetTable().GetColumnName(COLUMNS.index("expected_dsc")) == "expected_dsc"
    read = results.rows_of(table)
    assert [row["expected_dsc"] for row in read] == [row["expected_dsc"] for row in given]
    assert [row["expected_dsc"] for row in read][:3] == [0.93, None, 0.55]
    slicer.util.updateSegmentBinaryLabelmapFromArray((ARRAY == 1).astype(np.uint8)[::-1], a_segmentation, "liver", a_ct)
    again = {row["structure"]: row["expected_dsc"] for row in measure_again(a_segmentation, a_ct, read)}
    assert (again["liver"], again["spleen"]) == (None, 0.55), "of what was edited nothing is expected any more"


def test_a_table_of_something_else_has_no_measurements(scene):
    assert results.rows_of(scene.AddNewNodeByClass("vtkMRMLTableNode")) == []


def test_an_edited_result_is_measured_as_it_is_now(rows, a_ct, a_segmentation):
    edited = np.where(ARRAY == 1, 0, ARRAY)
    edited[0:4, 0:4, 0:4] = 1
    assert measure_again(a_segmentation, a_ct, rows) == rows, "what nobody touched"
    slicer.util.updateSegmentBinaryLabelmapFromArray((edited == 1).astype(np.uint8), a_segmentation, "liver", a_ct)
    a_segmentation.GetSegmentation().RemoveSegment("spleen")
    again = {(row["structure"], row["lesion"]): row for row in measure_again(a_segmentation, a_ct, rows)}
    assert again["liver", None]["voxels"] == 64
    assert again["spleen", None]["voxels"] == 0
    assert again["tumour", 1]["longest_mm"] == results.lesions(rows)[0]["longest_mm"]
    assert {row["case"] for row in again.values()} == {"CT"}


def test_what_was_not_found_is_empty_not_zero(rows, a_segmentation):
    table = results.write_table(rows, a_segmentation)
    assert np.isnan(column(table, "mean_hu")[3])


def test_a_second_run_fills_the_same_table(rows, a_segmentation):
    first = results.write_table(rows, a_segmentation)
    second = results.write_table(rows[:2], a_segmentation)
    assert first is second
    assert second.GetTable().GetNumberOfRows() == 2
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 1


def test_each_lesion_has_a_line_as_long_as_its_diameter(rows, a_segmentation):
    [line] = results.draw_diameters(rows, a_segmentation)
    [row] = results.lesions(rows)
    ends = slicer.util.arrayFromMarkupsControlPoints(line)
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(row["longest_mm"], abs=0.06)
    assert line.GetName() == "Lesion 1"


def test_the_line_lies_on_the_lesion(rows, a_ct, a_segmentation):
    [line] = results.draw_diameters(rows, a_segmentation)
    middle = slicer.util.arrayFromMarkupsControlPoints(line).mean(axis=0)
    matrix = vtk.vtkMatrix4x4()
    a_ct.GetRASToIJKMatrix(matrix)
    i, j, k = (round(v) for v in matrix.MultiplyPoint([*middle, 1])[:3])
    assert ARRAY[k, j, i] == TUMOUR


def test_lines_of_an_earlier_run_are_replaced(rows, a_segmentation):
    results.draw_diameters(rows, a_segmentation)
    results.draw_diameters(rows, a_segmentation)
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")) == 1
    results.remove(a_segmentation)
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []


def test_the_middle_of_a_lesion_follows_the_transform_of_its_ct(scene, rows, a_ct, a_segmentation):
    before = np.array(results.centre_of(results.lesions(rows)[0], a_segmentation))
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(90, (0, 0, 1)), (10, 0, 0)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    a_ct.SetAndObserveTransformNodeID(transform.GetID())
    segments.attach(a_segmentation, a_ct)
    after = results.centre_of(results.lesions(rows)[0], a_segmentation)
    assert after == pytest.approx(matrix[:3, :3] @ before + matrix[:3, 3])


def test_clicking_a_lesion_centres_the_slice_views_on_it(scene, rows, a_segmentation):
    view = slicer.vtkMRMLSliceNode()
    view.SetName("Red")
    view.SetLayoutName("Red")
    slice_node = scene.AddNode(view)  # there may be one already
    results.show_lesion(results.lesions(rows)[0], a_segmentation)
    centre = results.centre_of(results.lesions(rows)[0], a_segmentation)
    matrix = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())
    assert matrix[:3, 3] == pytest.approx(centre, abs=1e-3)


def test_the_engine_s_numbers_of_cts_are_told_as_their_names(a_ct):
    heard = []
    callbacks = Callbacks(message=heard.append, error=lambda text, details: heard.extend((text, details)))
    into = _IntoScene([Outcome(a_ct)], callbacks, measure=True)
    into.message("00000: thin slices were averaged, 00123 and 10000 are something else")
    into.error(0, "'/some where/cts/00000.nrrd' does not look like a CT.", r"C:\Users\me\cts\00000.nrrd: 40000 lines")
    assert heard == [
        "CT: thin slices were averaged, 00123 and 10000 are something else",
        "'CT' does not look like a CT.",
        "CT: 40000 lines",
    ]
