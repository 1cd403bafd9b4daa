"""Two results of the scene are compared by the engine, and a lesion is shown at both dates."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

sys.path.insert(0, str(Path(__file__).parent))

from helpers import LIVER, TUMOUR, ct_node, labels_for

from FlarePanCancerLib import followup
from FlarePanCancerLib import scene as segments
from flareseg.cli import main
from flareseg.io.files import read_labels

SHAPE = (20, 40, 40)
GRID = np.diag([-3.0, -3.0, 5.0, 1.0])


def labels_with(*corners):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:18, 5:35, 5:33] = LIVER
    for z, y, x in corners:
        labels[z : z + 4, y : y + 6, x : x + 6] = TUMOUR
    return labels


def result_of(labels, tmp_path, name, shift=0.0):
    matrix = GRID.copy()
    matrix[2, 3] = shift
    ct = ct_node(np.where(labels == 0, -100, 100).astype(np.int16), matrix, f"{name} CT")
    node = segments.new_segmentation(ct, name)
    segments.fill(node, labels_for(ct, labels, tmp_path))
    return node


@pytest.fixture
def both(scene, tmp_path):
    before = result_of(labels_with((5, 10, 10), (10, 25, 20)), tmp_path, "before")
    after = result_of(labels_with((5, 10, 10)), tmp_path, "after", shift=100.0)
    return before, after


@pytest.fixture
def compared(both, tmp_path, capsys):
    command = followup.write_for_engine(both, tmp_path)
    assert main(list(command.arguments)) == 0
    capsys.readouterr()
    return followup.read_comparison(command.table, both)


def test_segments_are_written_with_the_numbers_of_their_structures(both, tmp_path):
    command = followup.write_for_engine(both, tmp_path)
    labels, geometry = read_labels(Path(command.arguments[1]))
    assert np.array_equal(labels, labels_with((5, 10, 10), (10, 25, 20)))
    assert geometry.spacing_zyx_mm == (5.0, 3.0, 3.0)


def test_the_comparison_names_lesions_and_category(compared, both):
    assert compared.results == both
    [stays, goes] = compared.lesions
    assert [len(scan["parts"]) for scan in stays["scans"]] == [1, 1]
    assert [len(scan["parts"]) for scan in goes["scans"]] == [1, 0]
    assert compared.verdict.startswith("PR (partial response)")


def test_dates_are_those_of_the_studies_in_which_the_cts_lie(both, tmp_path):
    assert "--dates" not in followup.write_for_engine(both, tmp_path).arguments
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for result, day in zip(both, ("20240131", "2024-03-20"), strict=True):
        study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), day)
        hierarchy.SetItemAttribute(study, followup.STUDY_DATE, day)
        hierarchy.CreateItem(study, followup.ct_of(result))
    (tmp_path / "new").mkdir()
    arguments = followup.write_for_engine(both, tmp_path / "new").arguments
    assert arguments[3:6] == ("--dates", "20240131", "20240320")


def test_a_lesion_is_centred_at_both_dates_transforms_applied(compared, scene):
    nodes = [slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{view}") for view in followup.VIEWS]
    if None in nodes:
        for view in followup.VIEWS:
            for kind in ("Slice", "SliceComposite"):
                node = slicer.mrmlScene.CreateNodeByClass(f"vtkMRML{kind}Node")
                node.SetSingletonTag(view)
                node.SetName(view)
                node.SetLayoutName(view)
                slicer.mrmlScene.AddNode(node)
        nodes = [slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{view}") for view in followup.VIEWS]
    moved = vtk.vtkTransform()
    moved.Translate(0, 0, -40)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetMatrixTransformToParent(moved.GetMatrix())
    compared.results[1].SetAndObserveTransformNodeID(transform.GetID())
    followup.show_dates(compared.results)
    followup.show_lesion_at_both(compared.lesions[1], compared.results)
    heights = [node.GetSliceToRAS().GetElement(2, 3) for node in nodes]
    assert heights[1] - heights[0] == pytest.approx(100 - 40, abs=3)
    displays = [result.GetDisplayNode() for result in compared.results]
    assert [display.GetViewNodeIDs() for display in displays] == [(node.GetID(),) for node in nodes]
    followup.show_everywhere(compared.results)
    assert [display.GetViewNodeIDs() for display in displays] == [(), ()]


def test_a_result_without_its_ct_or_its_organs_is_refused_in_a_sentence(both, tmp_path):
    before, after = both
    slicer.mrmlScene.RemoveNode(followup.ct_of(after))
    with pytest.raises(ValueError, match="'after' has lost its CT"):
        followup.write_for_engine(both, tmp_path)
    before.GetSegmentation().RemoveAllSegments()
    with pytest.raises(ValueError, match="'before' has no segment called as an organ"):
        followup.write_for_engine([before], tmp_path)
