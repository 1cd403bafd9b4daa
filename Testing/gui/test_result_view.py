"""Results on the panel: of the CT that is chosen and of no other, in step with the scene, open to Slicer's tools."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))
from finished import ORGANS, WITH_LESIONS, finish
from helpers import LIVER, ct_node, labels_array

from FlarePanCancerLib import results
from FlarePanCancerLib import scene as segments

pytestmark = pytest.mark.usefixtures("folders_of_its_own")


@pytest.fixture
def first(scene):
    return ct_node(np.full((20, 24, 30), 40, np.int16), name="first")


@pytest.fixture
def second(scene):
    return ct_node(np.full((20, 24, 30), 60, np.int16), name="second")


@pytest.fixture
def panel(widget, first):
    widget.ui.ctSelector.setCurrentNode(first)
    widget.panel.parameters.device = "cpu"
    return widget.panel


def shown(panel):
    """The structures in the table of measurements."""
    table = panel.ui.structuresTable
    return [table.item(row, 1).text() for row in range(table.rowCount)]


def test_a_second_ct_gets_a_result_of_its_own_and_the_first_keeps_its(panel, first, second, tmp_path):
    of_first = finish(panel, first, tmp_path)
    rows = results.rows_of(of_first.table)
    panel.ui.ctSelector.setCurrentNode(second)
    assert panel.parameters.segmentation is None, "a new segmentation"
    of_second = finish(panel, second, tmp_path, segmentation=panel.parameters.segmentation)
    assert of_second.segmentation is not of_first.segmentation
    assert of_second.segmentation.GetName() == "second organs"
    assert panel.parameters.segmentation is of_second.segmentation
    assert segments.ct_of(of_first.segmentation) is first
    assert results.rows_of(of_first.table) == rows
    panel.ui.ctSelector.setCurrentNode(first)
    assert panel.parameters.segmentation is of_first.segmentation, "its own result comes back"
    assert panel.ui.resultLabel.text.startswith("Result of 'first'.")


def test_the_result_of_another_ct_cannot_be_chosen_to_be_filled(panel, first, second, tmp_path):
    of_first = finish(panel, first, tmp_path).segmentation
    panel.ui.ctSelector.setCurrentNode(second)
    panel.ui.segmentationSelector.setCurrentNode(of_first)
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.statusLabel.text == (
        "'first organs' is the result of another CT: choose 'New segmentation' as result."
    )
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert panel.ui.segmentButton.enabled and panel.ui.statusLabel.text == ""


def test_a_segmentation_without_a_result_may_be_filled_and_others_segments_stay(panel, first, scene, tmp_path):
    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    mine.GetSegmentation().AddEmptySegment("drawn", "Drawn by hand")
    panel.ui.segmentationSelector.setCurrentNode(mine)
    assert panel.ui.segmentButton.enabled
    assert finish(panel, first, tmp_path, segmentation=mine).segmentation is mine
    assert mine.GetSegmentation().GetSegment("drawn") is not None


def test_a_result_that_comes_while_another_ct_is_looked_at_stays_with_its_own(panel, first, second, tmp_path):
    panel.ui.ctSelector.setCurrentNode(second)
    finish(panel, first, tmp_path)
    assert panel.parameters.segmentation is None
    assert shown(panel) == []
    assert panel.ui.statusLabel.text == "Done: 2 of 13 structures found in 'first'."


WAYS = ("another CT", "no CT", "the CT is removed", "the result is removed", "the scene is closed")


@pytest.mark.parametrize("way", WAYS)
def test_results_leave_the_panel_with_their_ct(panel, first, second, scene, tmp_path, way):
    outcome = finish(panel, first, tmp_path)
    assert shown(panel) == ["Liver", "Spleen"]
    assert panel.ui.segmentsTable.segmentCount == 2
    assert not panel.ui.resultsCollapsible.collapsed
    if way == "another CT":
        panel.ui.ctSelector.setCurrentNode(second)
    elif way == "no CT":
        panel.ui.ctSelector.setCurrentNode(None)
    elif way == "the CT is removed":
        scene.RemoveNode(first)
    elif way == "the result is removed":
        scene.RemoveNode(outcome.segmentation)
    else:
        scene.Clear(False)
    assert shown(panel) == []
    assert panel.ui.segmentsTable.segmentCount == 0
    assert panel.ui.resultsCollapsible.collapsed
    assert "Done" not in panel.ui.statusLabel.text or way == "the result is removed"
    assert not panel.ui.editButton.enabled and not panel.ui.show3DButton.enabled


def test_a_model_that_looks_for_no_lesions_says_so(panel, first, tmp_path):
    offered = [panel.ui.structuresList.item(n).text() for n in range(panel.ui.structuresList.count)]
    assert "Tumour" not in offered and len(offered) == 13
    finish(panel, first, tmp_path, looked_for=ORGANS)
    assert panel.ui.lesionsLabel.text == "This model does not look for lesions."
    assert panel.ui.resultLabel.text == (
        "Result of 'first'. Not found: right kidney, pancreas, aorta, inferior vena cava, right adrenal gland, "
        "left adrenal gland and 5 more."
    )
    assert panel.ui.statusLabel.text == "Done: 2 of 13 structures found in 'first'."


def test_a_model_that_looks_for_lesions_counts_them(panel, first, tmp_path):
    panel.ui.modelSelector.currentText = "tumours"
    offered = [panel.ui.structuresList.item(n).text() for n in range(panel.ui.structuresList.count)]
    assert "Tumour" in offered
    finish(panel, first, tmp_path, looked_for=WITH_LESIONS)
    assert panel.ui.lesionsLabel.text == "1 lesion. Not a diagnosis."
    none = np.where(labels_array() == LIVER, LIVER, 0)
    finish(panel, first, tmp_path, looked_for=WITH_LESIONS, array=none, segmentation=panel.parameters.segmentation)
    assert panel.ui.lesionsLabel.text == "No lesions. Not a diagnosis."
    assert panel.ui.statusLabel.text == "Done: 1 of 14 structures found in 'first'."
    only = tuple(structure for structure in WITH_LESIONS if structure.name == "liver")
    from finished import MODELS

    MODELS[only] = "tumours"
    finish(panel, first, tmp_path, looked_for=only, segmentation=panel.parameters.segmentation)
    assert panel.ui.lesionsLabel.text == "Lesions were not looked for.", "this model would, but nobody asked it to"
    assert panel.ui.resultLabel.text == "Result of 'first'.", "what nobody looked for is not missing"


def test_a_structure_of_which_little_is_expected_is_to_be_checked(panel, first, second, tmp_path):
    outcome = finish(panel, first, tmp_path)
    assert shown(panel) == ["Liver", "Spleen"], "a model that was not calibrated promises nothing"
    expected = {"liver": 0.93, "spleen": 0.554}
    rows = [row | {"expected_dsc": expected.get(row["structure"])} for row in outcome.rows]
    results.write_table(rows, outcome.segmentation)
    panel.refresh()
    assert shown(panel) == ["Liver", "Spleen\ncheck this: expected DSC 0.55"]
    panel.ui.ctSelector.setCurrentNode(second)
    panel.ui.ctSelector.setCurrentNode(first)
    assert shown(panel) == ["Liver", "Spleen\ncheck this: expected DSC 0.55"], "the scene remembers"
    table = panel.ui.structuresTable
    assert table.rowHeight(1) == 2 * table.rowHeight(0), "nothing of it is cut off"
    assert table.item(0, 1).toolTip() == ""
    assert "had a DSC below 0.70 on average" in table.item(1, 1).toolTip()


def test_measurements_bear_the_name_of_the_ct(panel, first, tmp_path):
    rows = results.rows_of(finish(panel, first, tmp_path).table)
    assert {row["case"] for row in rows} == {"first"}


def test_clicking_a_lesion_centres_the_slice_views_on_it(panel, first, scene, tmp_path):
    view = slicer.vtkMRMLSliceNode()
    view.SetName("Red")
    view.SetLayoutName("Red")
    slice_node = scene.AddNode(view)  # there may be one already
    outcome = finish(panel, first, tmp_path, looked_for=WITH_LESIONS)
    table = panel.ui.lesionsTable
    assert (table.rowCount, table.item(0, 1).text()) == (1, "Liver")
    table.cellClicked.emit(0, 1)
    [row] = results.lesions(outcome.rows)
    centre = results.centre_of(row, outcome.segmentation)
    matrix = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())
    assert np.abs(matrix[:3, 3] - centre).max() <= 2 * 2.5  # one of its slices, all of which are alike


def test_tables_are_as_high_as_their_rows(panel, first, tmp_path):
    finish(panel, first, tmp_path, looked_for=WITH_LESIONS)
    for table in (panel.ui.structuresTable, panel.ui.lesionsTable):
        rows = sum(table.rowHeight(row) for row in range(table.rowCount))
        assert rows < table.minimumHeight == table.maximumHeight < rows + 60


# Slicer's own tools


def test_slicers_own_list_of_segments_shows_and_hides_them(panel, first, tmp_path):
    import qt

    node = finish(panel, first, tmp_path).segmentation
    view = panel.ui.segmentsTable
    assert view.segmentationNode() is node
    item = view.tableWidget().item(view.rowForSegmentID("liver"), 0)
    item.setCheckState(qt.Qt.Unchecked)
    assert not node.GetDisplayNode().GetSegmentVisibility("liver")
    node.GetDisplayNode().SetSegmentVisibility("liver", True)
    assert view.tableWidget().item(view.rowForSegmentID("liver"), 0).checkState() == qt.Qt.Checked


def test_show_3d_is_slicers_own_button_and_centres_the_view(panel, first, tmp_path, monkeypatch):
    centred = []
    monkeypatch.setattr(type(slicer.app.layoutManager()), "resetThreeDViews", lambda self: centred.append(True))
    node = finish(panel, first, tmp_path).segmentation
    panel.ui.show3DButton.click()
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert centred == [True]
    node.GetSegmentation().RemoveRepresentation("Closed surface")  # as another module may
    assert not panel.ui.show3DButton.checked
    assert centred == [True]


@pytest.fixture
def opened(monkeypatch):
    """Which of Slicer's modules was opened, and with what."""
    seen = []
    editor = SimpleNamespace(
        setSegmentationNode=lambda node: seen.append(("segmentation", node)),
        setSourceVolumeNode=lambda node: seen.append(("volume", node)),
    )
    selectors = {
        name: SimpleNamespace(setCurrentNode=lambda node, kind=kind: seen.append((kind, node)))
        for name, kind in (("segmentationSelector", "segmentation"), ("scalarSelector", "volume"))
    }
    for name, widget in (("segmenteditor", SimpleNamespace(editor=editor)), ("segmentstatistics", selectors)):
        own = SimpleNamespace(**widget) if isinstance(widget, dict) else widget
        representation = SimpleNamespace(self=lambda own=own: own)
        monkeypatch.setattr(
            slicer.modules, name, SimpleNamespace(widgetRepresentation=lambda r=representation: r), raising=False
        )
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: seen.append(name))
    return seen


@pytest.mark.parametrize(
    ("button", "name"), [("editButton", "SegmentEditor"), ("statisticsButton", "SegmentStatistics")]
)
def test_slicers_modules_open_with_result_and_ct_chosen(panel, first, tmp_path, opened, button, name):
    node = finish(panel, first, tmp_path).segmentation
    getattr(panel.ui, button).click()
    assert opened == [name, ("segmentation", node), ("volume", first)]


def test_what_was_edited_is_measured_again_on_return(panel, first, tmp_path, the_module):
    outcome = finish(panel, first, tmp_path, looked_for=WITH_LESIONS)
    table = panel.ui.structuresTable
    the_module.widgetRepresentation().exit()
    mask = np.zeros((20, 24, 30), np.uint8)
    mask[2:12, 2:12, 2:12] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, outcome.segmentation, "spleen", first)
    outcome.segmentation.GetSegmentation().RemoveSegment("tumour")
    the_module.widgetRepresentation().enter()
    assert table.item(shown(panel).index("Spleen"), 2).text() == "2.7"
    assert panel.ui.lesionsLabel.text == "No lesions. Not a diagnosis."
    assert panel.ui.statusLabel.text == "Measured again after it was edited."
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []
    panel.ui.statusLabel.text = ""
    the_module.widgetRepresentation().exit()
    the_module.widgetRepresentation().enter()
    assert panel.ui.statusLabel.text == "", "nothing was edited since"
