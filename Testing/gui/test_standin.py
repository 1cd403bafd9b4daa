"""The stand-in for Slicer's Qt layer does what Slicer's own does, and refuses what it does not know."""

import enum
import subprocess
import time
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import pytest
import slicer
from standin import dialogs, events, module, packages
from standin.parameter_node import Choice, Default, WithinRange, parameterNodeWrapper

UI = """<ui version="4.0"><class>Tiny</class>
<widget class="qMRMLWidget" name="Tiny">
 <layout class="QVBoxLayout" name="column">
  <item><widget class="qMRMLNodeComboBox" name="ct">
   <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
   <property name="noneEnabled"><bool>true</bool></property>
   <property name="SlicerParameterName" stdset="0"><string>ct</string></property>
  </widget></item>
  <item><widget class="QCheckBox" name="fast"><property name="text"><string>Fast</string></property>
   <property name="SlicerParameterName" stdset="0"><string>fast</string></property></widget></item>
  <item><widget class="QComboBox" name="quality">
   <property name="SlicerParameterName" stdset="0"><string>quality</string></property></widget></item>
  <item><widget class="ctkCollapsibleButton" name="more"><property name="text"><string>More</string></property>
   <property name="collapsed"><bool>true</bool></property>
   <layout class="QVBoxLayout" name="inside"><item>
    <widget class="ctkPathLineEdit" name="folder"><property name="filters"><set>ctkPathLineEdit::Dirs</set></property>
    </widget></item></layout></widget></item>
  <item><widget class="QPushButton" name="apply"><property name="text"><string>Apply</string></property></widget></item>
 </layout></widget>
<connections><connection><sender>Tiny</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>ct</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>
"""


class Quality(enum.Enum):
    FAST = "fast"
    ACCURATE = "accurate"

    def label(self):
        return self.value.capitalize()


@parameterNodeWrapper
class Parameters:
    ct: slicer.vtkMRMLScalarVolumeNode
    region: Optional[slicer.vtkMRMLMarkupsROINode]  # noqa: UP045 - the form that every Slicer connects
    fast: bool
    quality: Quality = Quality.ACCURATE
    threshold: Annotated[float, WithinRange(0, 1), Default(0.5)]
    count: int = 3
    name: str = "liver"
    device: Annotated[str, Choice(["auto", "cpu"]), Default("auto")]
    structures: list[str]
    folder: Path = Path("models")


@pytest.fixture
def node(scene):
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")


@pytest.fixture
def a_ct(scene):
    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="CT")


@pytest.fixture
def selector(scene):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(scene)
    return box


@pytest.fixture
def panel(scene, tmp_path):
    """A small .ui file, loaded by Slicer's own loadUI."""
    path = tmp_path / "Tiny.ui"
    path.write_text(UI)
    widget = slicer.util.loadUI(str(path))
    widget.setMRMLScene(scene)
    return widget


# PythonQt


def test_a_property_is_read_and_written_without_a_call():
    import qt

    label, button, bar, box = qt.QLabel("one"), qt.QPushButton("two"), qt.QProgressBar(), qt.QComboBox()
    label.text, label.toolTip, label.enabled = "three", "why", False
    button.checkable = button.checked = True
    bar.maximum, bar.value = 10, 4
    box.addItem("first", "data of the first")
    box.addItem("second")
    box.currentIndex = 1
    assert (label.text, label.toolTip, label.enabled, label.visible) == ("three", "why", False, False)
    assert (button.text, button.checked, bar.value, bar.text) == ("two", True, 4, "40%")
    assert (box.currentText, box.count, box.itemData(0)) == ("second", 2, "data of the first")


def test_a_getter_that_is_a_property_cannot_be_called():
    import qt

    with pytest.raises(TypeError, match="not callable"):
        qt.QLabel("one").text()


@pytest.mark.parametrize("make", ["QLabel", "QPushButton", "QTableWidget", "QTimer", "QTableWidgetItem", "QVBoxLayout"])
def test_a_misspelt_attribute_raises_when_read_and_when_written(make):
    import qt

    thing = getattr(qt, make)()
    with pytest.raises(AttributeError):
        _ = thing.tetx
    with pytest.raises(AttributeError):
        thing.tetx = "x"


@pytest.mark.parametrize("name", ["qMRMLNodeComboBox", "qMRMLWidget", "qMRMLSegmentationShow3DButton"])
def test_slicers_own_widgets_refuse_a_misspelling_too(app, name):
    thing = getattr(slicer, name)()
    with pytest.raises(AttributeError):
        thing.nodeTypse = ["vtkMRMLScalarVolumeNode"]


def test_a_method_and_a_read_only_property_cannot_be_assigned_to():
    import qt

    with pytest.raises(AttributeError, match="cannot be assigned"):
        qt.QLabel().show = True
    with pytest.raises(AttributeError, match="only be read"):
        qt.QProgressBar().text = "x"


def test_a_class_of_the_module_keeps_what_it_likes():
    import qt

    class Mine(qt.QWidget):
        def __init__(self):
            qt.QWidget.__init__(self)
            self.anything = 3

    assert Mine().anything == 3


def test_a_name_that_is_both_a_property_and_a_static_function_is_both():
    import qt

    timer, called = qt.QTimer(), []
    timer.singleShot = True
    qt.QTimer.singleShot(0, lambda: called.append(1))
    assert events.wait_until(lambda: called, 2)
    assert timer.singleShot is True


def test_both_ways_to_connect_call_the_slot_with_what_it_takes():
    import qt

    button, got = qt.QPushButton(), []
    button.checkable = True
    assert button.connect("clicked()", lambda: got.append("nothing"))
    button.connect("clicked(bool)", lambda checked: got.append(checked))
    button.connect("clicked()", lambda checked="default": got.append(checked))
    button.clicked.connect(lambda: got.append("signal"))
    button.click()
    assert got == ["nothing", True, "default", "signal"]


def test_a_slot_is_disconnected_by_the_signature_it_was_connected_with():
    import qt

    box, got = qt.QComboBox(), []
    box.addItems(["a", "b"])
    box.connect("currentIndexChanged(int)", got.append)
    assert box.disconnect("currentIndexChanged(int)", got.append)
    box.currentIndex = 1
    assert got == []
    assert not box.disconnect("currentIndexChanged(int)", got.append)


def test_a_signal_that_is_not_there_raises():
    import qt

    with pytest.raises(ValueError, match="no signal clikced"):
        qt.QPushButton().connect("clikced()", lambda: None)


def test_a_widget_made_by_qt_itself_behaves_the_same():
    import qt

    table, got = qt.QTableWidget(1, 2), []
    header = table.horizontalHeader()
    header.connect("sectionClicked(int)", got.append)
    header.sectionClicked.emit(1)
    assert got == [1]
    assert header.defaultSectionSize > 0


def test_qt_has_no_class_that_qt_does_not_have():
    import qt

    for name in ("QPushButon", "Signal", "Slot"):
        with pytest.raises(AttributeError):
            getattr(qt, name)


def test_children_are_found_by_class_and_by_its_name(panel):
    import qt

    assert [child.name for child in panel.findChildren("QCheckBox")] == ["fast"]
    assert panel.findChild(qt.QPushButton, "apply").text == "Apply"
    assert panel.className() == "qMRMLWidget"


# The .ui file


def test_slicers_load_ui_and_child_widget_variables_work_unchanged(panel, scene):
    ui = slicer.util.childWidgetVariables(panel)
    assert type(ui.ct) is slicer.qMRMLNodeComboBox
    assert ui.ct.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert ui.ct.mrmlScene() is scene  # by the connection of the .ui file
    assert (ui.more.text, ui.more.collapsed, ui.fast.text) == ("More", True, "Fast")
    assert ui.folder.filters == type(ui.folder).Dirs
    assert ui.ct.property("SlicerParameterName") == "ct"


def test_a_collapsed_section_hides_what_it_holds(panel):
    ui = slicer.util.childWidgetVariables(panel)
    panel.show()
    got = []
    ui.more.connect("contentsCollapsed(bool)", got.append)
    ui.more.collapsed = False
    assert ui.folder.visible
    ui.more.collapsed = True
    assert not ui.folder.visible
    assert got == [False, True]
    panel.hide()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('class="QCheckBox"', 'class="ctkCheckBoxx"', "ctkCheckBoxx"),
        ('name="noneEnabled"', 'name="noneEnabeld"', "no property noneEnabeld"),
        ("<slot>setMRMLScene(vtkMRMLScene*)", "<slot>setScene(vtkMRMLScene*)", "no slot"),
        ("<signal>mrmlSceneChanged", "<signal>sceneChanged", "no signal"),
    ],
)
def test_a_ui_file_with_a_mistake_is_refused(scene, tmp_path, old, new, message):
    path = tmp_path / "Tiny.ui"
    path.write_text(UI.replace(old, new))
    with pytest.raises(ValueError, match=message):
        slicer.util.loadUI(str(path))


def test_parameter_edit_widget_connections_of_slicer_util_work(panel, node, a_ct):
    ui = slicer.util.childWidgetVariables(panel)
    widgets = [(ui.ct, "ct"), (ui.fast, "fast")]
    called = []
    slicer.util.addParameterEditWidgetConnections(widgets, lambda *_: called.append(1))
    ui.ct.setCurrentNode(a_ct)
    ui.fast.click()
    assert len(called) == 2
    slicer.util.updateNodeFromParameterEditWidgets(widgets, node)
    assert node.GetNodeReference("ct") is a_ct
    assert node.GetParameter("fast") == "true"


# Slicer's widgets


def test_the_selector_is_disabled_until_it_has_a_scene(scene):
    box = slicer.qMRMLNodeComboBox()
    assert not box.enabled
    box.setMRMLScene(scene)
    assert box.enabled


def test_the_selector_follows_nodes_that_come_go_and_are_renamed(selector, scene, a_ct):
    got = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: got.append(node and node.GetName()))
    selector.setCurrentNode(None)
    selector.setCurrentNode(a_ct)
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "second")
    scene.AddNewNodeByClass("vtkMRMLModelNode", "of another class")
    assert selector.nodeCount() == 2
    other.SetName("renamed")
    assert selector.nodeFromIndex(1).GetName() == "renamed"
    selector.currentNodeID = other.GetID()
    scene.RemoveNode(other)
    assert selector.nodeCount() == 1
    assert selector.currentNode() is a_ct
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


def test_a_node_chosen_before_the_scene_is_set_is_kept(scene, a_ct):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes, box.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    box.setCurrentNode(a_ct)
    assert box.currentNode() is None
    box.setMRMLScene(scene)
    assert box.currentNode() is a_ct


def test_show_3d_makes_surfaces_and_takes_them_away(scene, a_ct):
    array = slicer.util.arrayFromVolume(a_ct)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(a_ct)
    button = slicer.qMRMLSegmentationShow3DButton()
    button.setSegmentationNode(segmentation)
    assert not button.enabled
    segment = segmentation.GetSegmentation().AddEmptySegment("liver", "liver")
    slicer.util.updateSegmentBinaryLabelmapFromArray((array == 0).astype(np.uint8), segmentation, segment, a_ct)
    assert button.enabled
    button.click()
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    button.click()
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    button.locked = True
    assert not button.enabled


# The parameter node


def test_parameters_have_their_defaults_and_survive_in_the_node(node, a_ct):
    parameters = Parameters(node)
    assert parameters.ct is None
    assert parameters.region is None
    assert (parameters.fast, parameters.quality, parameters.threshold) == (False, Quality.ACCURATE, 0.5)
    assert (parameters.count, parameters.name, parameters.device) == (3, "liver", "auto")
    assert parameters.structures == []
    parameters.ct, parameters.fast, parameters.quality = a_ct, True, Quality.FAST
    parameters.structures = ["liver", "tumour"]
    parameters.structures.append("spleen")
    parameters.folder = Path("a") / "b"
    again = Parameters(node)
    assert again.ct is a_ct
    assert (again.fast, again.quality, again.folder) == (True, Quality.FAST, Path("a/b"))
    assert list(again.structures) == ["liver", "tumour", "spleen"]
    assert node.GetParameter("quality") == "FAST"
    assert node.GetNodeReference("ct") is a_ct


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


def test_the_panel_and_the_parameters_follow_each_other_until_disconnected(panel, node, a_ct):
    ui = slicer.util.childWidgetVariables(panel)
    parameters = Parameters(node)
    tag = parameters.connectGui(ui)
    assert [ui.quality.itemText(index) for index in range(ui.quality.count)] == ["Fast", "Accurate"]
    assert ui.quality.currentText == "Accurate"
    ui.ct.setCurrentNode(a_ct)
    ui.fast.checked = True
    ui.quality.currentIndex = 0
    assert (parameters.ct, parameters.fast, parameters.quality) == (a_ct, True, Quality.FAST)
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


# The application and the module

SCRIPT = """
from slicer.ScriptedLoadableModule import *
from slicer.i18n import tr as _
import qt, slicer

class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Tiny")
        self.said = []
        slicer.app.connect("startupCompleted()", lambda: self.said.append("started"))

class TinyWidget(ScriptedLoadableModuleWidget, slicer.util.VTKObservationMixin):
    said = []
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        slicer.util.VTKObservationMixin.__init__(self)
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = TinyLogic()
        self.layout.addWidget(qt.QLabel("tiny"))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, lambda *_: self.said.append("closed"))
    def enter(self): self.said.append("enter")
    def exit(self): self.said.append("exit")
    def cleanup(self):
        self.removeObservers()
        self.said.append("cleanup")

class TinyLogic(ScriptedLoadableModuleLogic):
    pass

class TinyTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("running")
        raise AssertionError("the self test ran")
"""


@pytest.fixture
def tiny(scene, tmp_path):
    path = tmp_path / "Tiny.py"
    path.write_text(SCRIPT)
    loaded = module.load(path)
    yield loaded
    if hasattr(slicer.modules, "tiny"):
        module.unload(loaded)


def test_a_scripted_module_is_loaded_entered_left_reloaded_and_unloaded(tiny, scene):
    assert slicer.modules.tiny is tiny
    assert slicer.util.modulePath("Tiny") == tiny.path
    assert (tiny.title, slicer.modules.TinyInstance.said) == ("Tiny", ["started"])
    slicer.util.selectModule("Tiny")
    widget = slicer.util.getModuleWidget("Tiny")
    assert widget is slicer.modules.TinyWidget
    assert type(slicer.util.getModuleLogic("Tiny")).__name__ == "TinyLogic"
    scene.Clear(False)
    said = widget.said
    assert said == ["enter", "closed"]
    slicer.util.reloadScriptedModule("Tiny")
    assert slicer.modules.TinyWidget is not widget
    assert said == ["enter", "closed", "cleanup"]
    module.unload(tiny)
    assert slicer.modules.__dict__.get("tiny") is None


def test_a_module_cannot_say_of_itself_what_slicer_does_not_know(tiny):
    with pytest.raises(AttributeError):
        tiny.titel = "Tiny"


def test_the_self_test_of_a_module_is_run_by_its_name(tiny):
    with pytest.raises(AssertionError, match="the self test ran"):
        slicer.selfTests["Tiny"](msec=0)


def test_the_parameter_node_of_a_module_is_one_and_carries_its_name(tiny):
    logic = slicer.util.getModuleLogic("Tiny")
    node = logic.getParameterNode()
    assert node is logic.getParameterNode()
    assert (node.GetSingletonTag(), node.GetAttribute("ModuleName")) == ("Tiny", "Tiny")


def test_an_error_display_is_seen_and_answered_and_an_unexpected_one_fails():
    import qt

    dialogs.expect(qt.QMessageBox.Ok)
    slicer.util.errorDisplay("It failed.", detailedText="Because.")
    assert dialogs.shown[0].text == "It failed."
    assert dialogs.shown[0].details == "Because."
    with pytest.raises(dialogs.UnexpectedDialogError, match="Again"):
        slicer.util.errorDisplay("Again")


def test_a_question_is_answered_with_the_button_and_a_file_dialog_with_a_path():
    import qt

    dialogs.expect(qt.QMessageBox.Yes, qt.QMessageBox.No, "/a/folder", "/a/file.zip")
    assert slicer.util.confirmYesNoDisplay("Really?")
    assert not slicer.util.confirmYesNoDisplay("Really?")
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == "/a/folder"
    assert qt.QFileDialog.getOpenFileName(None, "File", "", "*.zip") == "/a/file.zip"


def test_the_error_display_of_slicer_util_restores_the_cursor_and_raises():
    import qt

    dialogs.expect(qt.QMessageBox.Ok)
    with pytest.raises(ValueError, match="no such"), slicer.util.tryWithErrorDisplay("Failed.", waitCursor=True):
        raise ValueError("no such thing")
    assert qt.QApplication.overrideCursor() is None
    assert "no such thing" in dialogs.shown[0].text


def test_settings_last_and_are_not_the_users_own(app):
    import qt

    qt.QSettings().setValue("Tiny/quality", "fast")
    assert slicer.app.settings().value("Tiny/quality") == "fast"
    assert slicer.util.settingsValue("Tiny/quality", "none") == "fast"
    assert slicer.app.settings().fileName().startswith(slicer.app.slicerHome)


def test_slicers_console_process_runs_beside_the_event_loop(app):
    lines, codes = [], []
    slicer.util.launchConsoleProcess(
        ["PythonSlicer", "-c", "print('one'); print('two'); raise SystemExit(3)"],
        useStartupEnvironment=False,
        blocking=False,
        logCallback=lines.append,
        completedCallback=codes.append,
    )
    assert events.wait_until(lambda: codes, 20)
    assert (lines, codes) == (["one", "two"], [3])


def test_the_slice_views_are_slicers_own_nodes(app, a_ct):
    slicer.util.setSliceViewerLayers(background=a_ct, fit=True)
    names = slicer.app.layoutManager().sliceViewNames()
    assert names == ("Red", "Yellow", "Green")
    composites = [slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode() for name in names]
    assert [node.GetBackgroundVolumeID() for node in composites] == [a_ct.GetID()] * 3


def test_slicer_app_and_its_modules_refuse_what_they_do_not_know(app):
    with pytest.raises(AttributeError):
        _ = slicer.app.applicationNaem
    with pytest.raises(AttributeError):
        _ = slicer.modules.flarepancancre
    with pytest.raises(RuntimeError, match="Nothing"):
        slicer.util.getModule("Nothing")


def test_packages_are_looked_up_for_real_and_installed_only_by_the_test(app, monkeypatch):
    assert slicer.packaging.pip_check("numpy>=1.20")
    assert not slicer.packaging.pip_check("numpy>=1000")
    with pytest.raises(RuntimeError, match="nothing installs"):
        slicer.util.pip_install("no-such-package")
    asked = []
    monkeypatch.setattr(packages, "installer", lambda requirements, **options: asked.append(requirements) or 0)
    dialogs.expect(1024)  # OK
    slicer.packaging.pip_ensure(["numpy>=1.20", "no-such-package>=2"], requester="Tiny", skip_packages=["torch"])
    assert asked == [["no-such-package>=2"]]
    assert "no-such-package" in dialogs.shown[0].text
    monkeypatch.setattr(packages, "installer", lambda requirements, **options: 1)
    with pytest.raises(subprocess.CalledProcessError):
        slicer.packaging.pip_install("no-such-package")


# The helpers of the tests


def test_a_wait_says_how_long_the_window_stood_still(app):
    import qt

    qt.QTimer.singleShot(20, lambda: time.sleep(0.15))
    blocked = events.spin(0.4)
    free = events.spin(0.2)
    assert blocked.longest_block_s >= 0.14
    assert free.longest_block_s < 0.1
    assert not events.wait_until(lambda: False, 0.05)


def test_a_screenshot_shows_the_widget(panel, tmp_path):
    import qt

    picture = qt.QImage(str(events.screenshot(panel, tmp_path / "pictures" / "panel.png")))
    assert (picture.width(), picture.height()) == (panel.width, panel.height)
    colours = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
    assert len(colours) > 5


def test_an_exception_in_a_slot_is_seen(nothing_goes_unseen):
    import qt

    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for error in nothing_goes_unseen] == [ZeroDivisionError]
    nothing_goes_unseen.clear()
