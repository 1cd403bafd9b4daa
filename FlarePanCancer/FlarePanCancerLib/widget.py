"""The panel: choices in, a run in the background, results out. It knows the .ui; the work is done by `logic`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib import region, sampledata, scene
from FlarePanCancerLib.choices import Choices
from FlarePanCancerLib.dependencies import DependencyError
from FlarePanCancerLib.first_use import install_missing, lacks_packages
from FlarePanCancerLib.followup_window import FollowUpWindow
from FlarePanCancerLib.get_models import GetModels
from FlarePanCancerLib.logic import Callbacks, Outcome, Run, SegmentationError, process
from FlarePanCancerLib.mrml_conversion import is_sequence
from FlarePanCancerLib.process import EngineProcess
from FlarePanCancerLib.result_view import ResultView, counted
from FlarePanCancerLib.results import newest_result
from FlarePanCancerLib.run_request import CHOICES
from FlarePanCancerLib.words import for_window, spoken
from flareseg.errors import FlareError
from flareseg.progress import DEVICES

POLL_MS = 40


class Panel:
    """What the user sees of the module.

    Args:
        ui: the widgets of FlarePanCancer.ui by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.parameters: Any = None
        self.run: Run | None = None
        self._devices: EngineProcess | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self.choices = Choices(ui)
        self.results = ResultView(ui, self.choices.looks_for_lesions)
        self.get_models = GetModels(self._is_ready, self.choices.use_model)
        self.follow_up = FollowUpWindow(self._is_ready)
        self.refreshed: Callable[[], None] = lambda: None  # another part of the module follows
        self._details = ""
        self._reason = ""
        self._ct_id = ""
        self._installing = False
        self._occupied = ""
        ui.detailsButton.visible = False
        ui.roiSelector.baseName = _("Region")
        for button, slot in (
            (ui.segmentButton, self._segment_or_cancel),
            (ui.sampleButton, self._load_sample),
            (ui.getModelsButton, self.get_models.show),
            (ui.importModelButton, self._import_model),
            (ui.openModelsButton, self._open_models),
            (ui.detailsButton, self._show_details),
            (ui.followUpButton, self.follow_up.show),
        ):
            button.connect("clicked()", slot)
        ui.roiSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._roi_added)

    # choices

    def show(self, parameters: Any) -> None:
        """Follow a parameter node; None: none."""
        self.parameters = parameters
        self._ct_id = ""
        if parameters is not None and parameters.ct is None:
            parameters.ct = _first_volume()
        self.refresh()

    def recall(self) -> None:
        """Take the choices of the last session, for a parameter node without any."""
        self.choices.recall()
        self.refresh()

    def find_devices(self) -> None:
        """Ask the engine, in the background, what there is to compute with."""
        if self._devices is None and not lacks_packages():
            self._devices = EngineProcess(["devices", "--json"])
            try:
                self._devices.start()
            except OSError:
                return
            self._timer.start()

    def refresh(self, *_unused: Any) -> None:
        """Show what the parameter node and the scene say now; the button says what it does, or why it does nothing."""
        parameters = self.parameters
        self.choices.follow(parameters)
        ct = parameters.ct if parameters is not None else None
        self._follow_ct(ct)
        self.results.show(ct, parameters.segmentation if parameters is not None else None)
        self.ui.sampleButton.visible = ct is None
        self._show_button()
        self.refreshed()

    def _show_button(self) -> None:
        button = self.ui.segmentButton
        if self.run is not None:
            button.text, button.enabled = _("Cancel"), True
            return
        reason = self._why_not()
        button.text, button.enabled = _("Segment"), not reason
        button.toolTip = reason or _("Segment the CT.")
        if reason or self.ui.statusLabel.text == self._reason:
            self.ui.statusLabel.text = reason
        self._reason = reason

    def entered(self) -> None:
        """The user comes back, perhaps from the Segment Editor."""
        if self.results.measure_again():
            self.ui.statusLabel.text = _("Measured again after it was edited.")

    def _follow_ct(self, ct: Any) -> None:
        """With another CT goes another result: its own newest one, or a new one."""
        ct_id = ct.GetID() if ct is not None else ""
        if ct_id == self._ct_id:
            return
        self._ct_id = ct_id
        if self.run is None:
            self.ui.statusLabel.text = ""
            self._set_details("")
        if ct is None or is_sequence(ct):
            return
        chosen = self.parameters.segmentation
        if chosen is None or not scene.may_hold(chosen, ct):
            self.parameters.segmentation = newest_result(ct)

    def occupy(self, reason: str) -> None:
        """Another part of the module is at work, for which *Segment* waits; "": it is done."""
        if reason != self._occupied:
            self._occupied = reason
            self.refresh()

    def why_busy(self) -> str:
        """Why other parts of the module have to wait for the panel; "" where they need not."""
        if self._installing:
            return str(_("Packages are being installed …"))
        return str(_("Another CT is being segmented; wait for it, or cancel it.")) if self.run is not None else ""

    def _why_not(self) -> str:
        if reason := self.why_busy() or self._occupied:
            return reason
        if self.parameters is None or self.parameters.ct is None:
            return _("Load a CT, or choose one above.")
        ct, chosen = self.parameters.ct, self.parameters.segmentation
        if chosen is not None and not is_sequence(ct) and not scene.may_hold(chosen, ct):
            words = _("'{name}' is the result of another CT: choose 'New segmentation' as result.")
            return words.format(name=chosen.GetName())
        return self.choices.why_not()

    def _roi_added(self, roi: Any) -> None:
        ct = self.parameters.ct if self.parameters is not None else None
        if ct is not None:
            roi.SetName(slicer.mrmlScene.GenerateUniqueName(_("{ct} region").format(ct=ct.GetName())))
        region.start_at(roi, ct)

    def _load_sample(self) -> None:
        self.ui.sampleButton.enabled = False  # events are processed meanwhile, and no second press
        self.ui.statusLabel.text = _("Loading the sample CT …")
        try:
            with slicer.util.tryWithErrorDisplay(_("The sample CT could not be loaded."), waitCursor=True):
                node = sampledata.load()
                if self.parameters is not None:
                    self.parameters.ct = node
        finally:
            self.ui.sampleButton.enabled = True
            self.refresh()

    # a run

    def _segment_or_cancel(self) -> None:
        if self.run is not None:
            self.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be started."), waitCursor=False):
            self.segment()

    def segment(self) -> None:
        """Begin with the choices as they are.

        Raises:
            SegmentationError: when the CT cannot be used.
        """
        if not self._is_ready():
            return
        parameters = self.parameters
        self.ui.logText.clear()
        self._set_details("")
        self.choices.remember()
        choices = {name: getattr(parameters, name) for name in CHOICES if hasattr(parameters, name)}
        choices["structures"] = self.choices.wanted()
        callbacks = Callbacks(
            progress=self._on_progress,
            message=self._on_message,
            preview=self._on_preview,
            done=self._on_done,
            error=self._on_error,
            finished=self._on_finished,
        )
        try:
            self.run = process(
                parameters.ct,
                parameters.segmentation,
                roi=parameters.roi,
                wait=False,
                callbacks=callbacks,
                **choices,
            )
        except SegmentationError as error:
            self._on_error(str(error), error.details)
            return
        self.ui.progressBar.visible = True
        self._timer.start()
        self.refresh()

    def cancel(self) -> None:
        """Ask the run to stop; `_on_finished` comes when it has."""
        if self.run is not None:
            self.ui.statusLabel.text = _("Stopping …")
            self.ui.segmentButton.enabled = False
            self.run.cancel()

    def close_scene(self) -> None:
        """The scene goes, and with it what is compared."""
        self.cancel()
        self.follow_up.forget()

    def end(self) -> None:
        """Nothing may go on after the panel: the module is reloaded, or Slicer ends."""
        self._timer.stop()
        if self.run is not None:
            self.run.kill()
            self.run = None
        if self._devices is not None:
            self._devices.kill()
        self.get_models.end()
        self.follow_up.end()
        self.results.end()

    def _poll(self) -> None:
        if self._devices is not None:
            for event in self._devices.events():
                if event["event"] == DEVICES:
                    self.choices.list_devices([(d["name"], d["description"]) for d in event["devices"]])
                    self.refresh()
            if not self._devices.running:
                self._devices = None
        if self.run is not None:
            self.run.poll()
        if self.run is None and self._devices is None:
            self._timer.stop()

    def _on_progress(self, fraction: float, text: str, seconds_left: float | None) -> None:
        self.ui.progressBar.value = round(1000 * fraction)
        words = _("{doing} … {percent} %") if seconds_left is None else _("{doing} … {percent} %, {time} left")
        left = "" if seconds_left is None else spoken(seconds_left)
        self.ui.statusLabel.text = words.format(doing=text, percent=round(100 * fraction), time=left)

    def _on_message(self, text: str) -> None:
        self.ui.logText.appendPlainText(for_window(text))

    def _on_preview(self, outcome: Outcome) -> None:
        self._on_message(_("First, coarse look at '{ct}'.").format(ct=outcome.ct.GetName()))

    def _on_done(self, outcome: Outcome) -> None:
        name = outcome.ct.GetName()
        if is_sequence(outcome.ct):
            words = _("Done: '{name}'.") if outcome.segmentation is not None else _("Done: one of '{name}'.")
            self.ui.statusLabel.text = words.format(name=name)
            return
        if self.parameters is not None and self.parameters.ct is outcome.ct:
            self.parameters.segmentation = outcome.segmentation
        self.refresh()
        found, every = counted(outcome.rows)
        words = _("Done: {found} of {count} structures found in '{name}'.")
        self.ui.statusLabel.text = words.format(found=found, count=every, name=name)

    def _on_error(self, text: str, details: str) -> None:
        text = for_window(text)
        self.ui.statusLabel.text = text
        self._on_message(text)
        self._set_details(details or text)
        _bring_into_view(self.ui.detailsButton)

    def _set_details(self, details: str) -> None:
        self._details = details
        self.ui.detailsButton.visible = bool(details)

    def _on_finished(self, cancelled: bool) -> None:
        run, self.run = self.run, None
        if cancelled:
            self.ui.statusLabel.text = _("Cancelled; the scene is as it was.")
        if run is not None:
            self._on_message(run.log)
        self.ui.progressBar.visible = False
        self.refresh()

    # first use

    def _is_ready(self) -> bool:
        """Whether everything that the engine needs is there, or has come after one question."""
        if not lacks_packages():
            return True
        if self._installing:
            return False
        try:
            self._set_installing(True)
            ready = install_missing(self._on_message)
        except DependencyError as error:
            self._on_error(str(error), error.details)
            return False
        finally:
            self._set_installing(False)
        if not ready:
            self.ui.statusLabel.text = _("Nothing was installed; press Segment to be asked again.")
        return ready and not lacks_packages()

    def _set_installing(self, installing: bool) -> None:
        """While packages come nothing of the panel can be pressed."""
        self._installing = installing
        for part in (self.ui.inputsCollapsible, self.ui.optionsCollapsible, self.ui.resultsCollapsible):
            part.enabled = not installing
        self.refresh()

    # models

    def _import_model(self) -> None:
        from flareseg.interop.import_model import import_model

        asks = (
            _("Import a model"),
            "",
            _("A model: model.json or nnU-Net's plans.json, or a zip (model.json plans.json *.zip)"),
        )
        chosen = qt.QFileDialog.getOpenFileName(self.ui.importModelButton, *asks)
        if not chosen:
            return
        path = Path(chosen)
        try:
            entry = import_model(path if path.suffix.lower() == ".zip" else path.parent)
        except FlareError as error:
            slicer.util.errorDisplay(for_window(str(error)))
            return
        self.choices.use_model(entry.name)

    def _open_models(self) -> None:
        from flareseg.model.catalogue import models_folder

        folder = models_folder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _show_details(self) -> None:
        slicer.util.messageBox(self.ui.statusLabel.text, detailedText=self._details)


def _first_volume() -> Any:
    """The first CT of the scene: neither a label map, which is a volume too, nor a hidden one."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    plain = (node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode")
    return next((node for node in plain if not node.GetHideFromEditors()), None)


def _bring_into_view(widget: Any) -> None:
    """Scroll what the widget lies in, so that it is seen."""
    area = widget.parentWidget()
    while area is not None and not area.inherits("QScrollArea"):
        area = area.parentWidget()
    if area is not None:
        area.ensureWidgetVisible(widget)
