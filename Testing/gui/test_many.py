"""Many CTs from the panel: the scene's, or a patient's in the DICOM browser's selection, with one list."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))
from helpers import ct_node, ijk_to_ras
from standin import dialogs
from standin.events import wait_until

from FlarePanCancerLib import ct_sources, results
from FlarePanCancerLib import scene as segments
from FlarePanCancerLib.logic import Outcome
from flareseg.results.measure import Measurement

pytestmark = pytest.mark.usefixtures("folders_of_its_own")


ROWS = [Measurement("CT", "default", 1, "liver", None, 1, 0.1, 50.0, 0.0, False).as_row()]


class Started:
    """In the place of a run."""

    def __init__(self, cts, results, callbacks, choices):
        self.outcomes = [Outcome(ct, result) for ct, result in zip(cts, results, strict=True)]
        self.callbacks, self.choices = callbacks, choices
        self.cancelled = self.killed = False
        self.steps = []

    def poll(self):
        if self.cancelled:
            self.callbacks.finished(True)
        elif self.steps:
            self.steps.pop(0)()

    def cancel(self):
        self.cancelled = True

    def kill(self):
        self.killed = True

    def done(self, number):
        outcome = self.outcomes[number]
        outcome.segmentation = outcome.segmentation or segments.new_segmentation(outcome.ct)
        outcome.rows, outcome.found = ROWS, ("liver", "spleen")
        results.write_table(outcome.rows, outcome.segmentation)
        self.callbacks.done(outcome)

    def fail(self, number, text):
        self.outcomes[number].error = text
        self.callbacks.error(text, "")


@pytest.fixture
def started(app, monkeypatch):
    """The runs that were started; none of them computes."""
    from FlarePanCancerLib import many

    runs = []

    def process(cts, results, *, wait, callbacks, **choices):
        assert not wait
        runs.append(Started(cts, results, callbacks, choices))
        return runs[-1]

    monkeypatch.setattr(many, "process", process)
    return runs


@pytest.fixture
def cts(scene):
    return [
        slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), name=name) for name in ("anna", "bert", "cleo")
    ]


def states(section):
    table = section.ui.ctsTable
    return [(table.item(n, 0).text(), table.item(n, 1).text()) for n in range(table.rowCount)]


def tick(section, place, ticked):
    import qt

    section.ui.ctsTable.item(place, 0).setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)


def test_the_section_stands_below_the_results_folded(widget):
    layout = widget.ui.logCollapsible.parentWidget().layout()
    place = layout.indexOf(widget.many.ui.manyCollapsible.parentWidget())
    assert layout.indexOf(widget.ui.resultsCollapsible) < place < layout.indexOf(widget.ui.logCollapsible)
    assert widget.many.ui.manyCollapsible.collapsed
    assert not widget.many.ui.segmentAllButton.enabled


def test_the_scenes_cts_are_listed_without_what_is_none(widget, cts):
    from FlarePanCancerLib.mrml_conversion import volume_of

    hidden = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), name="hidden")
    hidden.SetHideFromEditors(True)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(cts[1]) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), cts[1])
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    done = segments.new_segmentation(cts[2])
    from FlarePanCancerLib.mrml_conversion import Labels

    one = np.ones((1, 1, 1), np.uint8)
    segments.fill(done, Labels(one, (0, 0, 0, 0, 0, 0), volume_of(cts[2]).geometry, (1,)))
    results.write_table(ROWS, done)
    segments.new_segmentation(cts[0], "drawn by hand")
    widget.many.ui.sceneCtsButton.click()
    assert states(widget.many) == [("anna", ""), ("cleo", "has a result")]
    assert widget.many.ui.segmentAllButton.text == "Segment one CT", "what has a result is not ticked"


def test_a_scene_without_cts_says_so(widget):
    widget.many.ui.sceneCtsButton.click()
    assert widget.many.ui.manyStatusLabel.text == "There is no CT in the scene."


def test_ticked_cts_are_segmented_in_one_run_with_the_panels_choices(widget, cts, started):
    section = widget.many
    widget.panel.parameters.device = "cpu"
    widget.panel.parameters.structures = "liver,spleen"
    section.ui.sceneCtsButton.click()
    tick(section, 1, False)
    section.ui.segmentAllButton.click()
    assert wait_until(lambda: started, 5)
    [run] = started
    assert [outcome.ct for outcome in run.outcomes] == [cts[0], cts[2]]
    assert (run.choices["device"], run.choices["structures"]) == ("cpu", ["liver", "spleen"])
    assert section.ui.segmentAllButton.text == "Cancel" and not section.ui.sceneCtsButton.enabled
    run.callbacks.progress(0.25, "1 of 2: Segmenting", 30.0)
    assert states(section) == [("anna", "50 %"), ("bert", ""), ("cleo", "waits")]
    assert section.ui.manyStatusLabel.text == "1 of 2: Segmenting; 30 s left"
    run.done(0)
    run.fail(1, "This is no CT; use --force if it is one.")
    assert states(section)[0] == ("anna", "done: 2 structures")
    assert states(section)[2] == ("cleo", "failed: This is no CT.")
    run.callbacks.finished(False)
    assert section.ui.manyStatusLabel.text == "1 of 2 done."
    assert section.ui.segmentAllButton.text == "Segment one CT", "what failed may be tried again"
    assert not section.ui.manyProgressBar.visible and section.run is None


def test_cancelling_keeps_what_is_done(widget, cts, started):
    section = widget.many
    section.ui.sceneCtsButton.click()
    section.ui.segmentAllButton.click()
    wait_until(lambda: started, 5)
    started[0].done(0)
    section.ui.segmentAllButton.click()
    assert wait_until(lambda: section.run is None, 5)
    assert section.ui.manyStatusLabel.text == "Cancelled; 1 of 3 done."
    assert [state for _, state in states(section)] == ["done: 2 structures", "not done", "not done"]


def test_a_click_shows_a_ct_with_its_own_result_only(widget, cts, started):
    section = widget.many
    section.ui.sceneCtsButton.click()
    section.ui.segmentAllButton.click()
    wait_until(lambda: started, 5)
    from FlarePanCancerLib.mrml_conversion import Labels, volume_of

    one = np.ones((1, 1, 1), np.uint8)
    for number, ct in enumerate(cts):
        started[0].done(number)
        labels = Labels(one, (0, 0, 0, 0, 0, 0), volume_of(ct).geometry, (1,))
        segments.fill(started[0].outcomes[number].segmentation, labels)
    started[0].callbacks.finished(False)
    section.ui.ctsTable.cellClicked.emit(1, 0)
    assert widget.ui.ctSelector.currentNode() is cts[1]
    shown = [results.newest_result(ct).GetDisplayNode().GetVisibility() for ct in cts]
    assert shown == [0, 1, 0]


def test_a_volume_that_cannot_be_read_costs_no_other(widget, cts, started):
    matrix = np.eye(4)
    matrix[0, 1] = 0.2
    cts[0].SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    widget.many.ui.sceneCtsButton.click()
    widget.many.ui.segmentAllButton.click()
    assert wait_until(lambda: started, 5)
    assert [outcome.ct for outcome in started[0].outcomes] == cts[1:]
    assert "not at right angles" in states(widget.many)[0][1]
    started[0].done(0)
    started[0].callbacks.finished(False)
    assert widget.many.ui.manyStatusLabel.text == "1 of 3 done."


def test_with_the_scene_the_list_goes_and_the_run_stops(widget, cts, started, scene):
    widget.many.ui.sceneCtsButton.click()
    widget.many.ui.segmentAllButton.click()
    assert wait_until(lambda: started, 5)
    scene.Clear(False)
    assert wait_until(lambda: not widget.many.running, 5)
    assert started[0].cancelled and states(widget.many) == []
    assert not widget.many.ui.segmentAllButton.enabled and widget.many.ui.manyStatusLabel.text == ""


def test_while_one_ct_is_segmented_the_list_waits(widget, cts, started):
    section = widget.many
    section.ui.sceneCtsButton.click()
    hint = section.ui.segmentAllButton.toolTip
    widget.panel.run = object()
    widget.panel.refresh()
    assert not section.ui.segmentAllButton.enabled
    why = "Another CT is being segmented; wait for it, or cancel it."
    assert section.ui.manyStatusLabel.text == section.ui.segmentAllButton.toolTip == why
    section.segment()
    assert not section.running and not started
    widget.panel.run = None
    widget.panel.refresh()
    assert section.ui.segmentAllButton.enabled
    assert (section.ui.manyStatusLabel.text, section.ui.segmentAllButton.toolTip) == ("", hint)


def test_while_the_list_is_segmented_the_panel_waits(widget, cts, started):
    widget.ui.ctSelector.setCurrentNode(cts[0])
    assert widget.ui.segmentButton.enabled
    widget.many.ui.sceneCtsButton.click()
    widget.many.ui.segmentAllButton.click()
    assert not widget.ui.segmentButton.enabled and widget.ui.segmentButton.text == "Segment"
    why = "Many CTs are being segmented; wait for them, or cancel them below."
    assert widget.ui.statusLabel.text == widget.ui.segmentButton.toolTip == why
    assert wait_until(lambda: started, 5)
    assert widget.many.ui.segmentAllButton.enabled, "it says Cancel"
    started[0].callbacks.finished(False)
    assert widget.ui.segmentButton.enabled and widget.ui.statusLabel.text == ""


def test_when_the_panel_goes_the_run_goes_with_it(widget, cts, started):
    widget.many.ui.sceneCtsButton.click()
    widget.many.ui.segmentAllButton.click()
    wait_until(lambda: started, 5)
    widget.cleanup()
    assert started[0].killed and widget.many.run is None


@pytest.mark.slow
def test_two_cts_of_the_scene_get_their_results(widget, a_patient):
    matrix = ijk_to_ras(np.diag([-1, -1, 1]), (3.0, 3.0, 5.0))
    nodes = [ct_node(a_patient.hu, matrix, name) for name in ("one", "two")]
    widget.panel.parameters.device = "cpu"
    widget.panel.parameters.structures = "liver"
    widget.many.ui.sceneCtsButton.click()
    widget.many.ui.segmentAllButton.click()
    assert wait_until(lambda: not widget.many.running, 400)
    assert states(widget.many) == [("one", "done: 1 structures"), ("two", "done: 1 structures")]
    assert all(results.newest_result(node) is not None for node in nodes)


# the DICOM browser


@pytest.fixture
def database(monkeypatch, scene):
    """A DICOM database with two patients, and the browser with what is selected in it."""
    series = {"1.1": "CT", "1.2": "MR", "1.3": "CT", "2.1": "CT"}
    selected = SimpleNamespace(patients=(), studies=(), series=())
    loaded = []

    def load(uids):
        [uid] = uids
        if uid == "2.1":
            raise OSError("the file is gone")
        loaded.append(uid)
        return [slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), name=f"series {uid}").GetID()]

    tables = SimpleNamespace(
        currentPatientsSelection=lambda: selected.patients,
        currentStudiesSelection=lambda: selected.studies,
        currentSeriesSelection=lambda: selected.series,
    )
    browser = SimpleNamespace(dicomBrowser=SimpleNamespace(dicomTableManager=lambda: tables), dicomVisualBrowser=None)
    values = {"0008,0060": series.get, "0010,0010": lambda uid: "Anna", "0008,103e": lambda uid: f"phase {uid}"}
    fake = SimpleNamespace(
        isOpen=True,
        studiesForPatient=lambda patient: (f"{patient}.study",),
        seriesForStudy=lambda study: tuple(uid for uid in series if uid.startswith(study[0])),
        filesForSeries=lambda uid: (uid,),
        fileValue=lambda file, tag: values[tag](file),
    )
    monkeypatch.setattr(slicer, "dicomDatabase", fake, raising=False)
    monkeypatch.setattr(slicer.modules, "DICOMInstance", SimpleNamespace(browserWidget=browser), raising=False)
    utilities = SimpleNamespace(loadSeriesByUID=load)
    monkeypatch.setitem(sys.modules, "DICOMLib", SimpleNamespace(DICOMUtils=utilities))
    selected.loaded = loaded
    return selected


def test_of_a_selected_patient_every_ct_series_is_listed(widget, database):
    database.patients = ("1",)
    widget.many.ui.dicomCtsButton.click()
    assert states(widget.many) == [("Anna phase 1.1", "not loaded yet"), ("Anna phase 1.3", "not loaded yet")]
    database.series = ("1.2", "1.3")
    widget.many.ui.dicomCtsButton.click()
    assert [title for title, _ in states(widget.many)] == ["Anna phase 1.3"]


def test_series_are_loaded_one_after_the_other_and_segmented_together(widget, database, started):
    database.studies = ("1.study", "2.study")
    widget.many.ui.dicomCtsButton.click()
    widget.many.ui.segmentAllButton.click()
    assert wait_until(lambda: started, 5)
    assert database.loaded == ["1.1", "1.3"]
    assert [outcome.ct.GetName() for outcome in started[0].outcomes] == ["series 1.1", "series 1.3"]
    assert states(widget.many)[2] == ("Anna phase 2.1", "not loaded: the file is gone")
    started[0].callbacks.finished(False)


def test_what_is_in_the_scene_already_is_not_loaded_again(database, cts):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(cts[0]) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), cts[0])
    hierarchy.SetItemUID(item, "DICOM", "1.1")
    assert ct_sources.load_series("1.1") == [cts[0]]
    assert database.loaded == []


def test_without_a_selection_the_browser_is_opened(widget, database, monkeypatch):
    opened = []
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    widget.many.ui.dicomCtsButton.click()
    assert opened == ["DICOM"] and "DICOM browser" in widget.many.ui.manyStatusLabel.text
    monkeypatch.setattr(slicer.modules, "DICOMInstance", None)
    assert ct_sources.selected_series() == []


# Export to DICOM


class ExportDialog:
    """In the place of Slicer's."""

    asked: list = []  # noqa: RUF012

    def __init__(self, parent):
        pass

    def setMRMLScene(self, scene):
        pass

    def execDialog(self, item):
        self.asked.append(item)


def test_export_to_dicom_opens_slicers_window_with_the_result(widget, cts, monkeypatch):
    from FlarePanCancerLib import dicom_export

    monkeypatch.setattr(slicer, "qSlicerDICOMExportDialog", ExportDialog, raising=False)
    ExportDialog.asked.clear()
    dialogs.expect(0)
    widget.export_button.click()
    assert "There is no result yet" in dialogs.shown[-1].text
    node = segments.new_segmentation(cts[0])
    widget.panel.parameters.segmentation = node
    assert "QuantitativeReporting" in dicom_export.why_not(node)
    monkeypatch.setattr(slicer.modules, dicom_export.REPORTING, object(), raising=False)
    assert "not loaded from DICOM" in dicom_export.why_not(node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Anna"), "abdomen")
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
    hierarchy.SetItemParent(item, study)
    widget.export_button.click()
    assert ExportDialog.asked == [item]
