"""The stand-ins for Slicer's widgets and its parameter nodes do what Slicer's own do."""

from pathlib import Path

import numpy as np
import pytest
import slicer
from standin.parameter_node import parameterNodeWrapper
from tiny_panel import Parameters, Quality


@pytest.fixture
def selector(scene):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(scene)
    return box


# Slicer's widgets


def test_the_selector_is_disabled_until_it_has_a_scene(scene):
    box = slicer.qMRMLNodeComboBox()
    assert not box.enabled
    box.setMRMLScene(scene)
    assert box.enabled


def test_the_selector_follows_nodes_that_come_go_and_are_renamed(selector, scene, tiny_ct):
    got = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: got.append(node and node.GetName()))
    selector.setCurrentNode(None)
    selector.setCurrentNode(tiny_ct)
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "second")
    scene.AddNewNodeByClass("vtkMRMLModelNode", "of another class")
    assert selector.nodeCount() == 2
    other.SetName("renamed")
    assert selector.nodeFromIndex(1).GetName() == "renamed"
    selector.currentNodeID = other.GetID()
    scene.RemoveNode(other)
    assert selector.nodeCount() == 1
    assert selector.currentNode() is tiny_ct
    scene.Clear(False)
    assert selector.nodeCount() == 0
    assert selector.currentNode() is None
    assert got == [None, "CT", "renamed", "CT", None]


def test_the_first_node_is_chosen_unless_there_is_a_none(scene):
    with_none, without = slicer.qMRMLNodeComboBox(), slicer.qMRMLNodeComboBox()
    with_none.noneEnabled = True
    for box in (with_none, without):
        box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        box.setMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    assert with_none.currentNode() is None
    assert without.currentNode() is node


def test_the_selector_leaves_out_hidden_nodes_and_child_classes(selector, scene):
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    hidden = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hidden")
    assert selector.nodeCount() == 2
    hidden.SetHideFromEditors(True)
    assert selector.nodeFromIndex(0) is label
    assert selector.nodeCount() == 1
    selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
    assert selector.nodeCount() == 0
    selector.hideChildNodeTypes = []
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 0


def test_the_selector_makes_a_node_as_its_menu_does(scene):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLSegmentationNode"]
    box.baseName = "Result"
    box.setMRMLScene(scene)
    node = box.addNode()
    assert box.currentNode() is node
    assert node.GetName() == "Result"


def test_a_node_chosen_before_the_scene_is_set_is_kept(scene, tiny_ct):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes, box.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    box.setCurrentNode(tiny_ct)
    assert box.currentNode() is None
    box.setMRMLScene(scene)
    assert box.currentNode() is tiny_ct


def test_show_3d_makes_surfaces_and_takes_them_away(scene, tiny_ct):
    array = slicer.util.arrayFromVolume(tiny_ct)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(tiny_ct)
    button = slicer.qMRMLSegmentationShow3DButton()
    button.setSegmentationNode(segmentation)
    assert not button.enabled
    segment = segmentation.GetSegmentation().AddEmptySegment("liver", "liver")
    slicer.util.updateSegmentBinaryLabelmapFromArray((array == 0).astype(np.uint8), segmentation, segment, tiny_ct)
    assert button.enabled
    button.click()
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    button.click()
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    button.locked = True
    assert not button.enabled


# The parameter node


def test_parameters_have_their_defaults_and_survive_in_the_node(node, tiny_ct):
    parameters = Parameters(node)
    assert parameters.ct is None
    assert parameters.region is None
    assert (parameters.fast, parameters.quality, parameters.threshold) == (False, Quality.ACCURATE, 0.5)
    assert (parameters.count, parameters.name, parameters.device) == (3, "liver", "auto")
    assert parameters.structures == []
    parameters.ct, parameters.fast, parameters.quality = tiny_ct, True, Quality.FAST
    parameters.structures = ["liver", "tumour"]
    parameters.structures.append("spleen")
    parameters.folder = Path("a") / "b"
    again = Parameters(node)
    assert again.ct is tiny_ct
    assert (again.fast, again.quality, again.folder) == (True, Quality.FAST, Path("a/b"))
    assert list(again.structures) == ["liver", "tumour", "spleen"]
    assert node.GetParameter("quality") == "FAST"
    assert node.GetNodeReference("ct") is tiny_ct


def test_two_wrappers_of_one_node_see_each_other(node):
    one, other = Parameters(node), Parameters(node)
    called = []
    tag = other.AddObserver("ModifiedEvent", lambda *_: called.append(other.count))
    one.count = 7
    assert (other.count, called) == (7, [7])
    other.RemoveObserver(tag)
    one.count = 8
    assert called == [7]


def test_a_closed_scene_brings_the_defaults_back(app, scene):
    logic = slicer.ScriptedLoadableModule.ScriptedLoadableModuleLogic()
    parameters = Parameters(logic.getParameterNode())
    parameters.count = 9
    parameters.ct = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2), np.int16))
    scene.Clear(False)
    assert logic.getParameterNode() is parameters.parameterNode
    assert (parameters.ct, parameters.count) == (None, 3)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("count", "three", TypeError),
        ("threshold", 2.0, ValueError),
        ("device", "gpu", ValueError),
        ("ct", "CT", TypeError),
        ("structures", [1], TypeError),
        ("quality", "fast", TypeError),
        ("qualtiy", Quality.FAST, AttributeError),
    ],
)
def test_a_parameter_refuses_what_it_is_not(node, name, value, error):
    parameters = Parameters(node)
    with pytest.raises(error):
        setattr(parameters, name, value)


def test_a_type_that_cannot_be_kept_is_refused(app):
    with pytest.raises(TypeError, match="cannot be of type"):

        @parameterNodeWrapper
        class Wrong:
            one: set


def test_the_panel_and_the_parameters_follow_each_other_until_disconnected(tiny_panel, node, tiny_ct):
    ui = slicer.util.childWidgetVariables(tiny_panel)
    parameters = Parameters(node)
    tag = parameters.connectGui(ui)
    assert [ui.quality.itemText(index) for index in range(ui.quality.count)] == ["Fast", "Accurate"]
    assert ui.quality.currentText == "Accurate"
    ui.ct.setCurrentNode(tiny_ct)
    ui.fast.checked = True
    ui.quality.currentIndex = 0
    assert (parameters.ct, parameters.fast, parameters.quality) == (tiny_ct, True, Quality.FAST)
    parameters.ct, parameters.fast, parameters.quality = None, False, Quality.ACCURATE
    assert (ui.ct.currentNode(), ui.fast.checked, ui.quality.currentText) == (None, False, "Accurate")
    parameters.disconnectGui(tag)
    ui.fast.checked = True
    parameters.quality = Quality.FAST
    assert not parameters.fast
    assert ui.quality.currentText == "Accurate"


def test_a_widget_that_cannot_show_the_type_is_refused(node):
    import qt

    parameters = Parameters(node)
    for name, widget in (("fast", qt.QLineEdit()), ("name", qt.QComboBox()), ("count", qt.QLabel())):
        with pytest.raises(RuntimeError):
            parameters.connectParametersToGui({name: widget})
    with pytest.raises(ValueError, match="no parameter counter"):
        parameters.connectParametersToGui({"counter": qt.QSpinBox()})


def test_only_typing_optional_is_shown_by_a_selector_as_in_older_slicers(node, scene):
    @parameterNodeWrapper
    class Modern:
        ct: slicer.vtkMRMLScalarVolumeNode | None

    parameters = Modern(node)
    assert parameters.ct is None
    with pytest.raises(RuntimeError):
        parameters.connectParametersToGui({"ct": slicer.qMRMLNodeComboBox()})
