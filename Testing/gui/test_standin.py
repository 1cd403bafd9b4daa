"""The stand-in for Qt behaves as PythonQt and Slicer's loader of .ui files do, and refuses what it does not know."""

import time

import pytest
import slicer
from standin import events
from tiny_panel import UI

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
    assert events.wait_until(lambda: called, 30)
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


def test_children_are_found_by_class_and_by_its_name(tiny_panel):
    import qt

    assert [child.name for child in tiny_panel.findChildren("QCheckBox")] == ["fast"]
    assert tiny_panel.findChild(qt.QPushButton, "apply").text == "Apply"
    assert tiny_panel.className() == "qMRMLWidget"


# The .ui file


def test_slicers_load_ui_and_child_widget_variables_work_unchanged(tiny_panel, scene):
    ui = slicer.util.childWidgetVariables(tiny_panel)
    assert type(ui.ct) is slicer.qMRMLNodeComboBox
    assert ui.ct.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert ui.ct.mrmlScene() is scene  # by the connection of the .ui file
    assert (ui.more.text, ui.more.collapsed, ui.fast.text) == ("More", True, "Fast")
    assert ui.folder.filters == type(ui.folder).Dirs
    assert ui.ct.property("SlicerParameterName") == "ct"


def test_a_collapsed_section_hides_what_it_holds(tiny_panel):
    ui = slicer.util.childWidgetVariables(tiny_panel)
    tiny_panel.show()
    got = []
    ui.more.connect("contentsCollapsed(bool)", got.append)
    ui.more.collapsed = False
    assert ui.folder.visible
    ui.more.collapsed = True
    assert not ui.folder.visible
    assert got == [False, True]
    tiny_panel.hide()


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


def test_parameter_edit_widget_connections_of_slicer_util_work(tiny_panel, node, tiny_ct):
    ui = slicer.util.childWidgetVariables(tiny_panel)
    widgets = [(ui.ct, "ct"), (ui.fast, "fast")]
    called = []
    slicer.util.addParameterEditWidgetConnections(widgets, lambda *_: called.append(1))
    ui.ct.setCurrentNode(tiny_ct)
    ui.fast.click()
    assert len(called) == 2
    slicer.util.updateNodeFromParameterEditWidgets(widgets, node)
    assert node.GetNodeReference("ct") is tiny_ct
    assert node.GetParameter("fast") == "true"


# The helpers of the tests


def test_a_wait_says_how_long_the_window_stood_still(app):
    import qt

    qt.QTimer.singleShot(20, lambda: time.sleep(0.15))
    blocked = events.spin(0.4)
    free = min(events.spin(0.05).longest_block_s for _ in range(10))  # on a busy machine some are held up
    assert blocked.longest_block_s >= 0.14 > free
    assert not events.wait_until(lambda: False, 0.05)


def test_a_screenshot_shows_the_widget(tiny_panel, tmp_path):
    import qt

    picture = qt.QImage(str(events.screenshot(tiny_panel, tmp_path / "pictures" / "panel.png")))
    assert (picture.width(), picture.height()) == (tiny_panel.width, tiny_panel.height)
    colours = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(0, picture.height(), 3)}
    assert len(colours) > 5


def test_an_exception_in_a_slot_is_seen(nothing_goes_unseen):
    import qt

    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for error in nothing_goes_unseen] == [ZeroDivisionError]
    nothing_goes_unseen.clear()
