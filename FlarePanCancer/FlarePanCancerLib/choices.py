"""Model, structures and device: what the panel offers of each, in step with the parameter node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib.parameters import NO_STRUCTURE
from FlarePanCancerLib.run_request import FAST, PARITY
from FlarePanCancerLib.tables import StructuresList
from flareseg.labels import TUMOUR

if TYPE_CHECKING:
    from flareseg.model.catalogue import Entry

SETTINGS = "FlarePanCancer"
REMEMBERED = ("model", "quality", "device")
AUTO = "auto"


class Choices:
    """The lists that a parameter node's own connection to widgets cannot fill.

    The node is right: `follow` shows what it says, also where that is not to be had on this computer, and only what the
    user does changes it.

    Args:
        ui: the widgets of FlarePanCancer.ui by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.parameters: Any = None
        self._models: dict[str, Entry] = {}
        self._devices: dict[str, str] = {AUTO: ""}
        self._devices_known = False
        self._list = StructuresList(ui.structuresList, self._ticked)
        for button, slot in (
            (ui.allStructuresButton, lambda: self._list.tick()),
            (ui.noStructuresButton, lambda: self._list.tick(())),
        ):
            button.connect("clicked()", slot)
        ui.modelSelector.connect("currentIndexChanged(int)", self._model_chosen)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._device_chosen)
        self.list_models()
        self._fill_devices()

    def follow(self, parameters: Any) -> None:
        """Show what a parameter node says; None: none."""
        self.parameters = parameters
        model, device = (parameters.model, parameters.device) if parameters is not None else ("default", AUTO)
        _show(self.ui.modelSelector, model, self._models, _("{name} (not on this computer)"))
        unknown = _("{name} (not there now)") if self._devices_known else "{name}"
        _show(self.ui.deviceSelector, device, self._devices, unknown)
        self._describe(self._models.get(model))
        if parameters is None:
            return
        known = {structure.name for structure in self._list.known}
        names = [name for name in parameters.structures.split(",") if name in known]
        self._list.show(() if parameters.structures == NO_STRUCTURE else names or None)

    def recall(self) -> None:
        """Take the choices of the last session, for a parameter node without any."""
        settings = qt.QSettings()
        for name in REMEMBERED:
            value = settings.value(f"{SETTINGS}/{name}")
            if value and self.parameters is not None:
                setattr(self.parameters, name, str(value))

    def remember(self) -> None:
        """For the next session."""
        settings = qt.QSettings()
        for name in REMEMBERED:
            settings.setValue(f"{SETTINGS}/{name}", getattr(self.parameters, name))

    def why_not(self) -> str:
        """Why a run cannot begin with these choices; "" where it can."""
        model, device = self.parameters.model, self.parameters.device
        if model not in self._models:
            return _("The model '{name}' is not on this computer: choose another, or get it.").format(name=model)
        if not self._list.wanted():
            return _("Tick at least one structure.")
        if self._devices_known and not any(device in (one, one.partition(":")[0]) for one in self._devices):
            return _("The device '{name}' is not there now: choose another under Options.").format(name=device)
        return ""

    def wanted(self) -> tuple[str, ...]:
        """The names of the structures that are ticked; empty where all are."""
        return () if self._list.all_wanted() else self._list.wanted()

    def looks_for_lesions(self, model: str) -> bool | None:
        """Whether a model, by name and version, does; None: it is not at hand, or was another version."""
        found = next((one for one in self._models.values() if f"{one.name} {one.version}" == model), None)
        return any(structure.name == TUMOUR for structure in found.structures) if found else None

    # models

    def list_models(self) -> None:
        """The embedded models and the user's."""
        from flareseg.model.catalogue import list_models

        self._models = {entry.name: entry for entry in list_models()}
        _fill(self.ui.modelSelector, [(name, name) for name in self._models])
        self.follow(self.parameters)

    def use_model(self, name: str) -> None:
        """Offer one that has just come, and choose it."""
        self.list_models()
        self.ui.modelSelector.setCurrentIndex(self.ui.modelSelector.findData(name))

    def _model_chosen(self, *_unused: Any) -> None:
        name = self.ui.modelSelector.currentData
        entry = self._models.get(name)
        if self.parameters is None or entry is None or name == self.parameters.model:
            return
        with slicer.util.NodeModify(self.parameters):
            self.parameters.model = name
            if entry.parity != (self.parameters.quality == PARITY):
                self.parameters.quality = PARITY if entry.parity else FAST
            if entry.structures != self._list.known:
                self.parameters.structures = ""
        self.follow(self.parameters)

    def _describe(self, entry: Entry | None) -> None:
        self.ui.modelDescription.text = entry.description if entry else ""
        self.ui.betterModelLabel.visible = bool(entry and entry.origin == "embedded")
        if entry and entry.structures != self._list.known:
            self._list.fill(entry.structures)

    def _ticked(self) -> None:
        if self.parameters is not None:
            wanted = self._list.wanted()
            self.parameters.structures = "" if self._list.all_wanted() else ",".join(wanted) or NO_STRUCTURE

    # devices

    def list_devices(self, devices: Sequence[tuple[str, str]]) -> None:
        """Offer these, by name and description."""
        self._devices, self._devices_known = dict(devices), True
        self._fill_devices()

    def _fill_devices(self) -> None:
        automatic = _("Automatic")
        rows = []
        for name, description in self._devices.items():
            if name == AUTO:
                words = _("Automatic: {device}").format(device=description) if description else automatic
            else:
                words = description
            rows.append((words, name))
        _fill(self.ui.deviceSelector, rows)
        self.follow(self.parameters)

    def _device_chosen(self, *_unused: Any) -> None:
        name = self.ui.deviceSelector.currentData
        if self.parameters is not None and name:
            self.parameters.device = name


def _fill(combo: Any, rows: Sequence[tuple[str, str]]) -> None:
    combo.blockSignals(True)
    combo.clear()
    for words, name in rows:
        combo.addItem(words, name)
    combo.blockSignals(False)


def _show(combo: Any, name: str, known: dict[str, Any], unknown: str) -> None:
    """Let a combo box show `name`, which gets an item of its own as long as it is shown and not known."""
    combo.blockSignals(True)
    for index in reversed(range(combo.count)):
        if combo.itemData(index) not in known and combo.itemData(index) != name:
            combo.removeItem(index)
    if combo.findData(name) < 0:
        combo.addItem(unknown.format(name=name), name)
    combo.setCurrentIndex(combo.findData(name))
    combo.blockSignals(False)
