"""A sequence of CTs becomes a sequence of segmentations that plays with it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).parent))

from helpers import ct_node, ijk_to_ras

from FlarePanCancerLib import scene as segments
from FlarePanCancerLib.logic import SegmentationError, process


@pytest.fixture
def a_sequence(scene, a_patient):
    """Two phases of one patient, and a browser that plays them."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "phases")
    sequence.SetIndexName("phase")
    sequence.SetIndexType(slicer.vtkMRMLSequenceNode.TextIndex)
    for name, shift in (("arterial", 0), ("portal", 10)):
        node = ct_node(a_patient.hu + np.int16(shift), ijk_to_ras(np.diag([-1, -1, 1]), (3.0, 3.0, 5.0)), name)
        sequence.SetDataNodeAtValue(node, name)
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence


@pytest.mark.slow
def test_every_ct_of_a_sequence_gets_its_segmentation(scene, a_sequence):
    outcome = process(a_sequence, device="cpu", structures=["liver", "spleen"])
    result = outcome.segmentation
    assert result.IsA("vtkMRMLSequenceNode")
    assert [result.GetNthIndexValue(n) for n in range(2)] == ["arterial", "portal"]
    for number in range(2):
        assert "liver" in segments.own_segments(result.GetNthDataNode(number)).values()
    browser = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")[0]
    assert browser.IsSynchronizedSequenceNode(result, True)
    leftovers = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert not [name for name in leftovers if name.startswith("phases ")]


def test_a_sequence_of_something_else_is_reported(scene):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "texts")
    with pytest.raises(SegmentationError, match="'texts' is no sequence of CT volumes"):
        process(sequence)
