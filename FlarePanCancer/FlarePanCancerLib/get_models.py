"""The window behind *Get models…*: the catalogue of public models, and one of them on its way to the user's models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib.getting import Getting
from FlarePanCancerLib.offers import LIST, Offer, member_called, offers_of
from FlarePanCancerLib.process import EngineProcess
from FlarePanCancerLib.tables import OffersTable
from FlarePanCancerLib.words import for_window
from flareseg.errors import BY_HAND
from flareseg.progress import AVAILABLE

UI = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "GetModels.ui"
POLL_MS = 40


class GetModels:
    """The window. It is no modal one: whoever waits for a download may go on with other work.

    Args:
        is_ready: asks for what the engine lacks, and says whether everything is there.
        chosen: gets the name of a model of the user's that shall be used from now on.
    """

    def __init__(self, is_ready: Callable[[], bool], chosen: Callable[[str], None]) -> None:
        self._is_ready, self._chosen = is_ready, chosen
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._listing: EngineProcess | None = None
        self._getting: Getting | None = None
        self._wanted: Offer | None = None
        self._offers: list[Offer] = []
        self._details = ""
        self.dialog: Any = None
        self.ui: Any = None

    @property
    def pid(self) -> int | None:
        """Of the process that gets a model, while there is one."""
        return self._getting.pid if self._getting else None

    def show(self) -> None:
        """Open the window, and fill its list in the background."""
        if self.dialog is None:
            self._make()
        self.dialog.show()
        self.dialog.activateWindow()
        if self._getting is None:
            self._say(_("Reading the list …"))
            self._list()

    def end(self) -> None:
        """Nothing may go on after the panel: the module is reloaded, or Slicer ends."""
        self._timer.stop()
        for process in (self._getting, self._listing):
            if process is not None:
                process.kill()
        self._getting = self._listing = None
        if self.dialog is not None:
            self.dialog.close()
            self.dialog.deleteLater()
            self.dialog = self.ui = None

    def _make(self) -> None:
        widget = slicer.util.loadUI(str(UI))
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.setWindowTitle(_("Get models"))
        self.dialog.resize(860, 640)
        layout = qt.QVBoxLayout(self.dialog)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        self._table = OffersTable(self.ui.modelsTable, self._refresh_choice)
        self.ui.progressBar.visible = self.ui.detailsButton.visible = False
        self.ui.getButton.default = True  # which it cannot be before it is in a dialog
        for button, slot in (
            (self.ui.getButton, self._get_or_cancel),
            (self.ui.fromFileButton, self._from_file),
            (self.ui.detailsButton, self._show_details),
            (self.ui.closeButton, self.dialog.close),
        ):
            button.connect("clicked()", slot)
        self.ui.acceptCheckBox.connect("toggled(bool)", self._refresh_buttons)
        self.dialog.connect("finished(int)", self._closed)
        self._refresh_buttons()

    # the list

    def _list(self) -> None:
        if self._listing is not None:
            return
        self._listing = EngineProcess(LIST)
        try:
            self._listing.start()
        except OSError as error:
            self._listing = None
            self._say(_("The list cannot be read: {reason}").format(reason=error))
        else:
            self._timer.start()

    def _poll(self) -> None:
        if self._listing is not None:
            self._poll_list(self._listing)
        if self._getting is not None:
            self._getting.poll()
        if self._listing is None and self._getting is None:
            self._timer.stop()

    def _poll_list(self, listing: EngineProcess) -> None:
        for event in listing.events():
            if event["event"] == AVAILABLE and self.ui is not None:
                self._fill(offers_of(event))
        if listing.running:
            return
        self._listing = None
        if not self._offers and self.ui is not None:
            reason = listing.why_it_failed() or _("the engine said nothing that can be understood")
            self._say(_("The list cannot be read: {reason}").format(reason=reason), "\n".join(listing.log))

    def _fill(self, offers: list[Offer]) -> None:
        first = not self._offers
        self._offers = offers
        self._table.fill(offers)
        if first:
            self._say("")

    def _refresh_choice(self) -> None:
        """The user looks at another model."""
        offer = self._table.chosen
        self.ui.acceptCheckBox.checked = False
        self.ui.descriptionText.setHtml(offer.page() if offer else "")
        self._refresh_buttons()

    def _refresh_buttons(self, *_unused: Any) -> None:
        offer, ui = self._table.chosen, self.ui
        idle = self._getting is None
        for widget in (ui.modelsTable, ui.acceptCheckBox):
            widget.enabled = idle
        ui.acceptCheckBox.visible = bool(offer and offer.needs_acceptance)
        allowed = bool(offer and (not offer.needs_acceptance or ui.acceptCheckBox.checked))
        ui.fromFileButton.enabled = bool(idle and offer and allowed and not offer.is_preset and not offer.installed)
        ui.getButton.enabled = not idle or allowed
        ui.getButton.toolTip = "" if allowed or not offer else _("Read the licence first, and accept it.")
        if not idle:
            ui.getButton.text = _("Cancel")
        elif offer is not None and offer.installed:
            ui.getButton.text = _("Use it")
        elif offer is not None and offer.missing:
            ui.getButton.text = _("Get ({size})").format(size=offer.size)
        else:
            ui.getButton.text = _("Get")

    # one on its way

    def _get_or_cancel(self) -> None:
        offer = self._table.chosen
        if self._getting is not None:
            self._cancel()
        elif offer is not None and offer.installed:
            self._chosen(offer.installed)
            self._say(_("'{title}' is chosen.").format(title=offer.title))
        elif offer is not None:
            self._start(offer)

    def _from_file(self) -> None:
        offer = self._table.chosen
        if offer is None:
            return
        words = _("The file of '{title}' (*.zip)").format(title=offer.title)
        file = qt.QFileDialog.getOpenFileName(self.dialog, _("Get it from a file"), "", words)
        if file:
            self._start(offer, file)

    def _start(self, offer: Offer, file: str = "") -> None:
        if not self._is_ready():
            self._say(_("The packages that the engine needs are not installed; press Get to be asked again."))
            return
        self._say("")
        self._wanted = offer
        self._getting = Getting(offer.arguments(self.ui.acceptCheckBox.checked, file), self)
        try:
            self._getting.start()
        except OSError as error:
            self.error(_("It cannot be started: {reason}").format(reason=error), "", "")
            self.finished(False)
            return
        self.ui.progressBar.visible = True
        self._timer.start()
        self._refresh_buttons()

    def _cancel(self) -> None:
        if self._getting is not None:
            self._getting.cancel()
            self._say(_("Stopping …"))
            self.ui.getButton.enabled = False

    def _closed(self, _result: int = 0) -> None:
        """Whoever closes the window wants nothing more of it."""
        if self._getting is not None:
            self._cancel()

    # what `Getting` reports

    def progress(self, fraction: float, text: str) -> None:
        self.ui.progressBar.value = round(1000 * fraction)
        self.ui.statusLabel.text = f"{text} …"

    def done(self, model: str) -> None:
        self._chosen(model)
        title = self._wanted.title if self._wanted else model
        self._say(_("'{title}' is installed, and chosen.").format(title=title))

    def error(self, text: str, member: str, details: str) -> None:
        reason, by_hand, _rest = text.partition(BY_HAND)
        reason = for_window(reason)
        to_blame = member_called(member, self._offers)
        if by_hand and to_blame is not None:
            words = _("By hand: download {address} with a browser, choose '{title}' above, and press From file….")
            reason += words.format(address=to_blame.address, title=to_blame.title)
        self._say(reason, details)

    def finished(self, cancelled: bool) -> None:
        self._getting = self._wanted = None
        self.ui.progressBar.visible = False
        if cancelled:
            self._say(_("Cancelled; what has come is kept, and Get goes on from there."))
        self._refresh_buttons()
        self._list()  # for what is installed now

    def _say(self, text: str, details: str = "") -> None:
        self.ui.statusLabel.text = text
        self._details = details
        self.ui.detailsButton.visible = bool(details)

    def _show_details(self) -> None:
        slicer.util.messageBox(self.ui.statusLabel.text, detailedText=self._details)
