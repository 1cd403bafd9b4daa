"""Panel and parameter node say the same, whoever changes one of them; what is not there is said, not replaced."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))
from helpers import ct_node
from standin import dialogs, sample_data

from FlarePanCancerLib.mrml_conversion import roi_of, volume_of

pytestmark = pytest.mark.usefixtures("folders_of_its_own")


@pytest.fixture
def a_ct(scene):
    return ct_node(np.full((20, 24, 30), 40, np.int16), name="patient")


def ticked(ui):
    import qt

    items = [ui.structuresList.item(n) for n in range(ui.structuresList.count)]
    return [item.text() for item in items if item.checkState() == qt.Qt.Checked]


@pytest.fixture
def devices(ready):
    """What the engine says there is, known to the panel."""
    ready.panel._devices = None
    ready.panel.choices.list_devices([("auto", "CPU, 2 threads"), ("cpu", "CPU"), ("cuda:0", "a card")])
    ready.panel.refresh()
    return ready.panel


def test_what_changes_the_parameter_node_changes_the_panel(devices):
    """As a script, undo and a scene that is loaded do."""
    panel, ui = devices, devices.ui
    panel.parameters.model = "tumours"
    panel.parameters.device = "cuda:0"
    panel.parameters.structures = "liver,tumour"
    assert ui.modelSelector.currentData == "tumours"
    assert "tumours" in ui.modelDescription.text
    assert ui.deviceSelector.currentData == "cuda:0"
    assert ticked(ui) == ["Liver", "Tumour"]
    panel.parameters.structures = "none"
    assert ticked(ui) == [] and not ui.segmentButton.enabled
    panel.parameters.structures = ""
    assert len(ticked(ui)) == 14


def test_a_device_that_has_gone_is_named_and_another_can_be_chosen(devices):
    ui = devices.ui
    devices.parameters.device = "cuda:1"
    assert ui.deviceSelector.currentText == "cuda:1 (not there now)"
    assert not ui.segmentButton.enabled
    assert ui.statusLabel.text == "The device 'cuda:1' is not there now: choose another under Options."
    ui.deviceSelector.setCurrentIndex(ui.deviceSelector.findData("cpu"))
    assert devices.parameters.device == "cpu"
    assert ui.segmentButton.enabled and ui.statusLabel.text == ""
    assert ui.deviceSelector.findData("cuda:1") < 0


def test_a_model_that_is_not_here_is_named_and_the_choice_stays(devices):
    ui = devices.ui
    devices.parameters.model = "of-a-colleague"
    assert ui.modelSelector.currentText == "of-a-colleague (not on this computer)"
    assert "of-a-colleague" in ui.statusLabel.text and not ui.segmentButton.enabled
    devices.choices.list_models()
    assert devices.parameters.model == "of-a-colleague"


def test_choices_of_a_scene_are_not_overwritten_by_those_of_the_last_session(ready, the_module):
    settings = slicer.app.settings()
    settings.setValue("FlarePanCancer/quality", "Accurate")
    settings.setValue("FlarePanCancer/model", "tumours")
    ready.panel.parameters.quality = "Fast"
    the_module.widgetRepresentation().reload()  # a panel is made anew over the scene's node
    again = the_module.widgetRepresentation().self()
    again.enter()
    assert (again.panel.parameters.quality, again.panel.parameters.model) == ("Fast", "default")
    slicer.mrmlScene.Clear(False)
    assert (again.panel.parameters.quality, again.panel.parameters.model) == ("Accurate", "tumours")
    assert again.ui.modelSelector.currentData == "tumours"
    again.cleanup()


def test_a_scene_that_is_loaded_brings_its_choices(devices, a_ct, scene):
    other = ct_node(np.full((20, 24, 30), 40, np.int16), name="other")
    devices.parameters.ct = other
    devices.parameters.model = "tumours"
    devices.parameters.structures = "tumour"
    scene.SetSaveToXMLString(1)
    scene.Commit()
    text = scene.GetSceneXMLString()
    scene.SetSaveToXMLString(0)
    scene.Clear(False)
    assert devices.ui.modelSelector.currentData == "default"
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(text)
    scene.Import()
    scene.SetLoadFromXMLString(0)
    assert devices.parameters.ct.GetName() == "other"
    assert devices.ui.ctSelector.currentNode().GetName() == "other"
    assert devices.ui.modelSelector.currentData == "tumours"
    assert ticked(devices.ui) == ["Tumour"]


def test_a_label_map_is_not_taken_for_the_ct(scene, the_module):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    ct = ct_node(name="CT")
    representation = the_module.widgetRepresentation()
    representation.enter()
    assert representation.self().panel.parameters.ct is ct
    representation.self().cleanup()


def test_an_empty_panel_loads_the_sample(widget, the_module, monkeypatch):
    ui = widget.ui
    assert not ui.sampleButton.isHidden()
    from FlarePanCancerLib import sampledata

    sampledata.register(Path(the_module.path).parent / "Resources")
    fetched = []
    monkeypatch.setattr(sampledata, "fetch_sample", lambda keep_alive: fetched.append(ui.sampleButton.enabled))
    monkeypatch.setattr(sample_data.SampleDataLogic, "load", staticmethod(lambda: ct_node(name="AbdomenCT")))
    ui.sampleButton.click()
    assert fetched == [False], "in a process of its own, and pressed once"
    assert widget.panel.parameters.ct.GetName() == "AbdomenCT"
    assert ui.sampleButton.isHidden()
    assert ui.segmentButton.enabled


def test_a_sample_that_cannot_be_had_is_a_sentence_and_may_be_tried_again(widget, monkeypatch, nothing_goes_unseen):
    from FlarePanCancerLib import sample_fetch, sampledata

    def fail(keep_alive):
        raise sample_fetch.FetchError("The network is not reached.")

    monkeypatch.setattr(sampledata, "fetch_sample", fail)
    dialogs.expect(0)
    widget.ui.sampleButton.click()
    assert "The network is not reached." in dialogs.shown[-1].text
    nothing_goes_unseen.clear()  # Slicer raises again what it has shown
    assert widget.ui.sampleButton.enabled
    assert widget.ui.statusLabel.text == "Load a CT, or choose one above."


def test_a_new_region_is_as_large_as_the_ct_and_can_be_dragged(ready, a_ct):
    ready.ui.ctSelector.setCurrentNode(a_ct)
    roi = ready.ui.roiSelector.addNode()
    assert ready.panel.parameters.roi is roi
    assert roi.GetName() == "patient region"
    assert roi.GetDisplayNode().GetHandlesInteractive() and roi.GetDisplayNode().GetScaleHandleVisibility()
    box, geometry = np.reshape(roi_of(roi, a_ct), (3, 2)), volume_of(a_ct).geometry
    assert box[:, 1] - box[:, 0] == pytest.approx([30 * 1.2, 24 * 0.9, 20 * 2.5])
    assert (box[:, 0] <= np.array(geometry.origin_xyz_mm)).all() or (box[:, 1] >= geometry.origin_xyz_mm).all()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "torch finds no NVIDIA GPU here; take --device cpu, or install a CUDA build of torch.",
            "torch finds no NVIDIA GPU here; choose Automatic or the CPU as device.",
        ),
        (
            "'patient' does not look like a CT: no air; use --force if it is one.",
            "'patient' does not look like a CT: no air.",
        ),
        ("The CT is cut; nothing else.", "The CT is cut; nothing else."),
    ],
)
def test_a_window_names_no_options_of_the_command_line(said, shown):
    from FlarePanCancerLib.words import for_window

    assert for_window(said) == shown


def test_an_error_has_details_and_they_are_in_sight(ready):
    import qt

    area = qt.QScrollArea()
    area.setWidget(ready.parent)
    area.resize(400, 120)
    area.show()
    ready.panel._on_error("The disk is full; use --force.", "")
    assert ready.ui.statusLabel.text == "The disk is full."
    assert not ready.ui.detailsButton.isHidden()
    slicer.app.processEvents()
    assert not ready.ui.detailsButton.visibleRegion().isEmpty()
    area.takeWidget()


def test_one_thing_is_called_segment(ui):
    assert ui.segmentButton.text == "Segment"
    assert ui.inputsCollapsible.text == "CT and model"
