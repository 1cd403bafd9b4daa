"""The panel while a case runs: press Segment, watch, cancel, look at the result."""

import sys
from pathlib import Path

import pytest
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))
from helpers import alive
from panel_steps import idle, segmented
from standin.events import wait_until

pytestmark = pytest.mark.usefixtures("folders_of_its_own")


# a run


def test_press_segment_and_get_a_segmentation(ready, a_ct):
    assert segmented(ready)
    ui = ready.ui
    node = ready.panel.parameters.segmentation
    names = [
        node.GetSegmentation().GetNthSegment(n).GetName() for n in range(node.GetSegmentation().GetNumberOfSegments())
    ]
    assert {"Liver", "Spleen"} <= set(names)
    assert ui.statusLabel.text.startswith("Done: ")
    assert ui.segmentButton.text == "Segment"
    assert ui.segmentationSelector.currentNode() is node
    assert not ui.progressBar.visible
    titles = [ui.structuresTable.item(row, 1).text().splitlines()[0] for row in range(ui.structuresTable.rowCount)]
    assert sorted(titles) == sorted(name for name in names)
    assert not ui.resultsCollapsible.collapsed


def test_while_it_runs_the_window_lives_and_progress_is_reported(ready):
    ready.ui.segmentButton.click()
    assert ready.ui.segmentButton.text == "Cancel"
    seen = set()

    def watch():
        seen.add((ready.ui.statusLabel.text.split(" … ")[0], ready.ui.progressBar.value))
        # importing the result is the end of the case; what is measured is the time while it runs
        return ready.panel.run is None or ready.panel.run.outcomes[0].rows

    waited = wait_until(watch, 300)
    assert waited
    values = [value for _, value in seen]
    assert len(seen) > 3
    assert 0 < max(values) <= 1000
    wait_until(idle(ready), 30)


def test_cancel_leaves_the_scene_as_it_was(ready, scene):
    before = scene.GetNumberOfNodes()
    ready.ui.segmentButton.click()
    wait_until(lambda: ready.panel.run.pid, 60)
    pid = ready.panel.run.pid
    ready.ui.segmentButton.click()
    assert not ready.ui.segmentButton.enabled
    assert wait_until(idle(ready), 60)
    assert scene.GetNumberOfNodes() == before
    assert ready.ui.statusLabel.text == "Cancelled; the scene is as it was."
    assert ready.ui.segmentButton.text == "Segment"
    assert not alive(pid)


def test_a_model_that_has_gone_meanwhile_is_reported_in_one_sentence(ready, another_model):
    import shutil

    from flareseg.interop.import_model import import_model

    folder = import_model(another_model, name="gone").folder
    ready.panel.choices.use_model("gone")
    shutil.rmtree(folder)
    ready.ui.segmentButton.click()
    assert ready.panel.run is None
    text = ready.ui.statusLabel.text
    assert "gone" in text and "\n" not in text
    assert ready.ui.segmentButton.enabled


def test_a_failure_of_the_engine_is_one_sentence(ready, another_model):
    from flareseg.interop.import_model import import_model

    weights = import_model(another_model, name="damaged").folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    ready.panel.choices.list_models()
    ready.ui.modelSelector.currentText = "damaged"
    assert segmented(ready)
    text = ready.ui.statusLabel.text
    assert "damaged" in text and "\n" not in text
    assert "Traceback" not in ready.ui.logText.toPlainText()
    assert ready.ui.segmentButton.enabled


def test_deleting_the_ct_while_it_runs_ends_in_peace(ready, scene, a_ct):
    ready.ui.segmentButton.click()
    wait_until(lambda: ready.panel.run.pid, 60)
    scene.RemoveNode(a_ct)
    assert wait_until(idle(ready), 300)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert not ready.ui.segmentButton.enabled


def test_closing_the_scene_while_it_runs_stops_it(ready, scene):
    ready.ui.segmentButton.click()
    wait_until(lambda: ready.panel.run.pid, 60)
    pid = ready.panel.run.pid
    scene.Clear(False)
    assert wait_until(idle(ready), 30)
    assert not alive(pid)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_leaving_the_module_does_not_stop_a_run(ready, the_module):
    ready.ui.segmentButton.click()
    the_module.widgetRepresentation().exit()
    assert wait_until(idle(ready), 300)
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1
    the_module.widgetRepresentation().enter()


def test_when_the_panel_goes_the_process_goes_with_it(ready):
    ready.ui.segmentButton.click()
    wait_until(lambda: ready.panel.run.pid, 60)
    pid = ready.panel.run.pid
    ready.cleanup()
    assert wait_until(lambda: not alive(pid), 30)


# the result


def test_a_second_run_fills_the_same_segmentation(ready):
    segmented(ready)
    first = ready.panel.parameters.segmentation
    assert segmented(ready)
    assert ready.panel.parameters.segmentation is first
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 1
