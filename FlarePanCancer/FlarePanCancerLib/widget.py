"""The panel: choices in, a run in the background, results out. It knows the .ui; the work is done by `logic`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib import results, scene
from FlarePanCancerLib.dependencies import DependencyError
from FlarePanCancerLib.first_use import install_missing, lacks_packages
from FlarePanCancerLib.get_models import GetModels
from FlarePanCancerLib.logic import Callbacks, Outcome, Run, SegmentationError, process
from FlarePanCancerLib.mrml_conversion import is_sequence
from FlarePanCancerLib.process import EngineProcess
from FlarePanCancerLib.run_request import CHOICES, FAST, PARITY
from FlarePanCancerLib.tables import LesionsTable, StructuresList, StructuresTable
from FlarePanCancerLib.words import spoken
from flareseg.errors import FlareError
from flareseg.progress import DEVICES

if TYPE_CHECKING:
    from flareseg.model.catalogue import Entry

POLL_MS = 40
SETTINGS = "FlarePanCancer"
REMEMBERED = ("model", "quality", "device")
AUTOMATIC = "Automatic"


class Panel:
    """What the user sees of the module.

    Args:
        ui: the widgets of FlarePanCancer.ui by name.
        parameters: a `Parameters` node, connected to the ui by the module's widget.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.parameters: Any = None
        self.run: Run | None = None
        self.outcome: Outcome | None = None
        self._devices: EngineProcess | None = None
        self.get_models = GetModels(self._is_ready, self.use_model)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._choice = StructuresList(ui.structuresList, self._structures_chosen)
        self._structures = StructuresTable(ui.structuresTable, self._show_structure)
        self._lesions = LesionsTable(ui.lesionsTable, self._show_lesion)
        self._details = ""
        self._models: dict[str, Entry] = {}
        self._list_devices([("auto", "")])
        self.list_models()
        ui.detailsButton.visible = False
        ui.show3DButton.enabled = False
        for button, slot in (
            (ui.segmentButton, self._segment_or_cancel),
            (ui.getModelsButton, self.get_models.show),
            (ui.importModelButton, self._import_model),
            (ui.openModelsButton, self._open_models),
            (ui.allStructuresButton, lambda: self._choice.tick()),
            (ui.noStructuresButton, lambda: self._choice.tick(())),
            (ui.detailsButton, self._show_details),
        ):
            button.connect("clicked()", slot)
        ui.show3DButton.connect("toggled(bool)", self._show_3d)
        ui.modelSelector.connect("currentIndexChanged(int)", self._model_chosen)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._device_chosen)

    # choices

    def show(self, parameters: Any) -> None:
        """Follow a parameter node; None: none."""
        self.parameters = parameters
        if parameters is None:
            return
        if parameters.ct is None:
            parameters.ct = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        _choose(self.ui.modelSelector, parameters.model)
        _choose(self.ui.deviceSelector, parameters.device)
        self._choice.tick([name for name in parameters.structures.split(",") if name] or None)
        self.refresh()

    def recall(self) -> None:
        """Take the choices of the last session, for a new parameter node."""
        settings = qt.QSettings()
        for name in REMEMBERED:
            value = settings.value(f"{SETTINGS}/{name}")
            if value and self.parameters is not None:
                setattr(self.parameters, name, str(value))
        self.show(self.parameters)

    def find_devices(self) -> None:
        """Ask the engine, in the background, what there is to compute with."""
        if self._devices is None and not lacks_packages():
            self._devices = EngineProcess(["devices", "--json"])
            try:
                self._devices.start()
            except OSError:
                return
            self._timer.start()

    def list_models(self) -> None:
        """The embedded model and the imported ones."""
        from flareseg.model.catalogue import list_models

        chosen = self.ui.modelSelector.currentData
        self.ui.modelSelector.blockSignals(True)
        self.ui.modelSelector.clear()
        self._models = {entry.name: entry for entry in list_models()}
        for name in self._models:
            self.ui.modelSelector.addItem(name, name)
        _choose(self.ui.modelSelector, chosen or "default")
        self.ui.modelSelector.blockSignals(False)
        self._model_chosen()

    def use_model(self, name: str) -> None:
        """Offer one that has just come, and choose it."""
        self.list_models()
        _choose(self.ui.modelSelector, name)

    def refresh(self, *_unused: Any) -> None:
        """The button says what it does, or why it does nothing."""
        if self.run is not None:
            self.ui.segmentButton.text, self.ui.segmentButton.enabled = _("Cancel"), True
            return
        reason = self._why_not()
        self.ui.segmentButton.text, self.ui.segmentButton.enabled = _("Segment"), not reason
        self.ui.segmentButton.toolTip = reason or _("Segment the CT.")
        if reason:
            self.ui.statusLabel.text = reason

    def _why_not(self) -> str:
        if self.parameters is None or self.parameters.ct is None:
            return str(_("Load a CT, or choose one above."))
        if self._choice.known and not self._choice.wanted():
            return str(_("Tick at least one structure."))
        return ""

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
        self._details = ""
        self.ui.detailsButton.visible = False
        settings = qt.QSettings()
        for name in REMEMBERED:
            settings.setValue(f"{SETTINGS}/{name}", getattr(parameters, name))
        choices = {name: getattr(parameters, name) for name in CHOICES if hasattr(parameters, name)}
        choices["structures"] = () if self._choice.all_wanted() else self._choice.wanted()
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

    def end(self) -> None:
        """Nothing may go on after the panel: the module is reloaded, or Slicer ends."""
        self._timer.stop()
        if self.run is not None:
            self.run.kill()
            self.run = None
        if self._devices is not None:
            self._devices.kill()
        self.get_models.end()

    def _poll(self) -> None:
        if self._devices is not None:
            for event in self._devices.events():
                if event["event"] == DEVICES:
                    self._list_devices([(d["name"], d["description"]) for d in event["devices"]])
            if not self._devices.running:
                self._devices = None
        if self.run is not None:
            self.run.poll()
        if self.run is None and self._devices is None:
            self._timer.stop()

    def _on_progress(self, fraction: float, text: str, seconds_left: float | None) -> None:
        self.ui.progressBar.value = round(1000 * fraction)
        left = f", {spoken(seconds_left)} left" if seconds_left is not None else ""
        self.ui.statusLabel.text = f"{text} … {100 * fraction:.0f} %{left}"

    def _on_message(self, text: str) -> None:
        self.ui.logText.appendPlainText(text)

    def _on_preview(self, outcome: Outcome) -> None:
        self._on_message(f"First, coarse look at '{outcome.ct.GetName()}'.")

    def _on_done(self, outcome: Outcome) -> None:
        if is_sequence(outcome.ct):
            which = f"'{outcome.segmentation.GetName()}'" if outcome.segmentation is not None else "one of a sequence"
            self.ui.statusLabel.text = f"Done: {which}."
            return
        self.outcome = outcome
        if self.parameters is not None:
            self.parameters.segmentation = outcome.segmentation
        self._structures.fill(outcome.rows, outcome.structures)
        self._lesions.fill(outcome.rows)
        count = len(results.lesions(outcome.rows))
        self.ui.lesionsLabel.text = f"{count or 'No'} {'lesion' if count == 1 else 'lesions'}. Not a diagnosis."
        self.ui.lesionsTable.visible = bool(count)
        self.ui.resultsCollapsible.collapsed = False
        self.ui.show3DButton.enabled = True
        if self.ui.show3DButton.checked:
            self._show_3d(True)
        found = len(outcome.found)
        self.ui.statusLabel.text = f"Done: {found} of {found + len(outcome.missing)} structures found."

    def _on_error(self, text: str, details: str) -> None:
        self.ui.statusLabel.text = text
        self._on_message(text)
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
        try:
            ready = install_missing(self._on_message)
        except DependencyError as error:
            self._on_error(str(error), error.details)
            return False
        if not ready:
            self.ui.statusLabel.text = _("Nothing was installed; press Segment to be asked again.")
        return ready and not lacks_packages()

    # models, devices, structures

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
            slicer.util.errorDisplay(str(error))
            return
        self.use_model(entry.name)

    def _open_models(self) -> None:
        from flareseg.model.catalogue import models_folder

        folder = models_folder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _model_chosen(self, *_unused: Any) -> None:
        name = self.ui.modelSelector.currentData
        entry = self._models.get(name)
        self.ui.modelDescription.text = entry.description if entry else ""
        self.ui.betterModelLabel.visible = bool(entry and entry.origin == "embedded")
        if self.parameters is not None and entry and name != self.parameters.model:
            self.parameters.model = name
            if entry.parity != (self.parameters.quality == PARITY):
                self.parameters.quality = PARITY if entry.parity else FAST
        if entry and entry.structures != self._choice.known:
            self._choice.fill(entry.structures)
            self._structures_chosen()

    def _list_devices(self, devices: Sequence[tuple[str, str]]) -> None:
        chosen = self.parameters.device if self.parameters is not None else "auto"
        self.ui.deviceSelector.blockSignals(True)
        self.ui.deviceSelector.clear()
        for name, description in devices:
            words = description if name != "auto" else f"{AUTOMATIC}: {description}" if description else AUTOMATIC
            self.ui.deviceSelector.addItem(words, name)
        _choose(self.ui.deviceSelector, chosen)
        self.ui.deviceSelector.blockSignals(False)

    def _device_chosen(self, *_unused: Any) -> None:
        name = self.ui.deviceSelector.currentData
        if self.parameters is not None and name:
            self.parameters.device = name

    def _structures_chosen(self) -> None:
        wanted = self._choice.wanted()
        if self.parameters is not None and wanted:
            self.parameters.structures = "" if self._choice.all_wanted() else ",".join(wanted)
        self.refresh()

    # results

    def _segmentation(self) -> Any:
        """The node with the last result, if it is still there."""
        node = self.outcome.segmentation if self.outcome else None
        return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None

    def _show_3d(self, shown: bool) -> None:
        node = self._segmentation()
        if node is None:
            return
        if shown:
            with slicer.util.tryWithErrorDisplay(_("The surfaces could not be made."), waitCursor=True):
                scene.show_surfaces(node)
        else:
            node.GetDisplayNode().SetVisibility3D(False)

    def _show_structure(self, name: str, shown: bool) -> None:
        node = self._segmentation()
        if node is None:
            return
        for segment_id, own in scene.own_segments(node).items():
            if own == name:
                node.GetDisplayNode().SetSegmentVisibility(segment_id, shown)

    def _show_lesion(self, row: results.Row) -> None:
        node = self._segmentation()
        if node is not None:
            results.show_lesion(row, node)

    def _show_details(self) -> None:
        slicer.util.messageBox(self.ui.statusLabel.text, detailedText=self._details)


def _choose(combo: Any, data: Any) -> None:
    index = combo.findData(data)
    if index >= 0:
        combo.setCurrentIndex(index)
