"""The panel as a user meets it: load a CT, choose a model, look at the result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import slicer

from flareseg.model.catalogue import structures_in

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))
from helpers import alive
from panel_steps import idle, segmented
from standin import dialogs, sample_data
from standin.events import spin, wait_until

pytestmark = pytest.mark.usefixtures("folders_of_its_own")


CLOSED, OPEN = True, False


# before a run


def test_without_a_ct_the_button_says_what_is_missing(ui):
    assert not ui.segmentButton.enabled
    assert ui.segmentButton.toolTip == ui.statusLabel.text == "Load a CT, or choose one above."


@pytest.mark.parametrize("text", ["Short.", "Many words. " * 20], ids=["one line", "several"])
def test_the_status_takes_no_more_room_than_its_words(widget, text):
    label = widget.ui.statusLabel
    label.text = text
    label.window().resize(470, 620)
    label.window().show()
    spin(0.1)
    assert label.geometry.height() == label.heightForWidth(label.geometry.width())


def test_a_ct_that_is_loaded_is_chosen_and_the_button_is_ready(widget, a_ct):
    widget.ui.ctSelector.setCurrentNode(a_ct)
    assert widget.panel.parameters.ct is a_ct
    assert widget.ui.segmentButton.enabled
    assert widget.ui.segmentButton.text == "Segment"


def test_a_ct_that_was_there_before_the_panel_is_chosen_by_itself(a_ct, the_module):
    representation = the_module.widgetRepresentation()
    representation.enter()
    assert representation.self().panel.parameters.ct is a_ct
    representation.self().cleanup()


def test_the_embedded_model_is_offered_with_a_description(ui):
    assert ui.modelSelector.currentData == "default"
    assert "organs" in ui.modelDescription.text


def test_automatic_tells_what_it_found(widget):
    selector = widget.ui.deviceSelector
    assert selector.itemText(0) == "Automatic"
    assert wait_until(lambda: "CPU" in selector.itemText(0), 30)
    assert "thread" in selector.itemText(0)


def test_nothing_ticked_is_reported_and_all_ticks_come_back(ready):
    ui = ready.ui
    ui.noStructuresButton.click()
    assert ready.panel.parameters.structures == "none", "a loaded scene has no more ticks than the panel had"
    assert not ui.segmentButton.enabled
    assert ui.statusLabel.text == "Tick at least one structure."
    ui.allStructuresButton.click()
    assert ui.segmentButton.enabled
    assert ui.statusLabel.text == "", "a reason that holds no more vanishes"
    assert ready.panel.parameters.structures == ""


def test_choices_last_until_the_next_session(ready, the_module):
    ready.ui.qualitySelector.currentText = "Accurate"
    ready.ui.segmentButton.click()
    ready.panel.cancel()
    wait_until(idle(ready), 30)
    settings = slicer.app.settings()
    assert settings.value("FlarePanCancer/quality") == "Accurate"
    assert settings.value("FlarePanCancer/device") == "cpu"


RECORDED = Path(__file__).resolve().parents[1] / "engine" / "data" / "nnunet"


def test_an_imported_nnunet_model_brings_its_structures_and_nnunets_answer_until_speed_is_chosen(ready):
    from flareseg.interop.import_model import import_model

    import_model(RECORDED / "residual" / "model", name="pelvis")
    panel, ui = ready.panel, ready.ui
    panel.choices.list_models()
    embedded = len(structures_in("default"))
    assert ui.modelSelector.currentData == "default" and ui.structuresList.count == embedded
    ui.modelSelector.currentText = "pelvis"
    titles = [ui.structuresList.item(number).text() for number in range(ui.structuresList.count)]
    assert titles == ["Prostate", "Urinary bladder", "Liver"]
    assert panel.parameters.quality == ui.qualitySelector.currentText == "As nnU-Net"
    ui.qualitySelector.currentText = "Fast"
    panel.choices.list_models()
    assert (panel.parameters.model, panel.parameters.quality) == ("pelvis", "Fast"), "the user's choice stays"
    assert segmented(ready), "a model with structures of its own runs to the end"
    assert {row["structure"] for row in panel.results.rows} == {"prostate", "urinary_bladder", "liver"}
    ui.modelSelector.currentText = "default"
    assert ui.structuresList.count == embedded and panel.parameters.quality == "Fast"


def test_the_plans_of_an_nnunet_model_are_chosen_to_import_it(ready):
    dialogs.expect(str(RECORDED / "old" / "model" / "plans.json"))
    ready.ui.importModelButton.click()
    assert ready.ui.modelSelector.currentData == ready.panel.parameters.model == "Tumours-3d-lowres"


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_imported_model_is_offered_and_chosen(ready, another_model, tmp_path, kind):
    import shutil

    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", another_model)
    dialogs.expect(str(another_model / "model.json") if kind == "folder" else archive)
    ready.ui.importModelButton.click()
    assert ready.ui.modelSelector.currentData == ready.panel.parameters.model == "mine"


def test_a_damaged_model_is_reported_when_it_is_imported(ready, another_model):
    (another_model / "weights.safetensors").write_bytes(b"nothing")
    dialogs.expect(str(another_model / "model.json"), 0)
    ready.ui.importModelButton.click()
    assert "damaged" in dialogs.shown[-1].text or "sha256" in dialogs.shown[-1].text
    assert ready.ui.modelSelector.currentData == "default"


# the module


def test_the_module_says_who_made_it_and_what_it_is_for(the_module):
    assert the_module.categories == ["Segmentation"]
    assert "not a medical device" in the_module.helpText
    assert "10.1007/978-3-031-58776-4_11" in the_module.acknowledgementText


def test_a_sample_ct_is_registered_when_slicer_has_started(the_module):
    sample = sample_data.SampleDataLogic.registered[-1]
    assert sample["checksums"].startswith("SHA256:")
    assert Path(sample["thumbnailFileName"]).exists()


def test_the_logic_is_found_by_its_name(the_module, widget):
    logic = slicer.util.getModuleLogic("FlarePanCancer")
    assert callable(logic.process)


@pytest.fixture
def modules_as_before():
    """Takes back what a reload did to the modules of this process, which other tests have classes of."""
    before = dict(sys.modules)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("flareseg", "FlarePanCancerLib")]:
        del sys.modules[name]
    sys.modules.update(before)


def test_reloading_the_module_works_and_stops_what_runs(modules_as_before, ready, the_module):
    ready.ui.segmentButton.click()
    wait_until(lambda: ready.panel.run.pid, 60)
    pid = ready.panel.run.pid
    old = sys.modules["FlarePanCancerLib.widget"]
    ready.onReload()
    again = the_module.widgetRepresentation().self()
    assert again is not ready
    assert sys.modules["FlarePanCancerLib.widget"] is not old
    assert wait_until(lambda: not alive(pid), 30)
    again.cleanup()


def test_importing_the_module_brings_little_and_no_torch(tmp_path):
    """Hardly anything beyond Slicer's own modules: what FlarePanCancer.py imports at its top."""
    code = """
import json, sys, types
import slicer, vtk, numpy
from slicer.util import VTKObservationMixin
for name in ("i18n", "ScriptedLoadableModule"):
    module = types.ModuleType("slicer." + name)
    module.tr = module.translate = lambda *texts: texts[-1]
    for kind in ("ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest",
                 "ScriptedLoadableModuleWidget"):
        setattr(module, kind, type(kind, (), {}))
    sys.modules["slicer." + name] = module
before = set(sys.modules)
import FlarePanCancer
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
print(len(set(sys.modules) - before), len(before))
assert not {"torch", "monai", "scipy", "SimpleITK"} & set(sys.modules)
"""
    folder = Path(__file__).resolve().parents[2] / "FlarePanCancer"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    imported, counts = result.stdout.splitlines()
    assert set(json.loads(imported)) - set(sys.stdlib_module_names) <= {
        "FlarePanCancer",
        "FlarePanCancerLib",
        "flareseg",
    }
    came, there = map(int, counts.split())
    assert came < 0.1 * there  # of Slicer's own modules
