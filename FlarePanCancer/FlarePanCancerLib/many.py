"""Many CTs: a list of those of the scene, or of what is selected in the DICOM browser, and how far each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib.ct_sources import cts_of_scene, load_series, selected_series, title_of_series
from FlarePanCancerLib.logic import Callbacks, Outcome, Run, SegmentationError, process
from FlarePanCancerLib.mrml_conversion import volume_of
from FlarePanCancerLib.results import newest_result
from FlarePanCancerLib.run_request import CHOICES
from FlarePanCancerLib.words import for_window, spoken
from flareseg.errors import InputError

UI = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "ManyCts.ui"
POLL_MS = 40


@dataclass(eq=False)
class _Row:
    """A CT in the list.

    Attributes:
        title: what the list calls it.
        node_id: of its node; "" as long as it is not loaded.
        series: UID of the DICOM series to load; "" for a node that was there.
        state: what the list says of it.
        wanted: whether it is ticked.
    """

    title: str
    node_id: str = ""
    series: str = ""
    state: str = ""
    wanted: bool = True

    @property
    def node(self) -> Any:
        return slicer.mrmlScene.GetNodeByID(self.node_id) if self.node_id else None


class ManyCts:
    """A section of the panel below its results.

    Args:
        ui: the widgets of the panel by name.
        panel: gives the choices of model, quality, device and structures, and whether the engine has all it needs.
    """

    def __init__(self, ui: Any, panel: Any) -> None:
        self._panel_ui, self._panel = ui, panel
        self.run: Run | None = None
        self._rows: list[_Row] = []
        self._at_work: list[_Row] = []
        self._wanted = 0
        self._filling = False
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        widget = slicer.util.loadUI(str(UI))
        self.ui = slicer.util.childWidgetVariables(widget)
        above = ui.logCollapsible
        layout = above.parentWidget().layout()
        layout.insertWidget(layout.indexOf(above), widget)
        table = self.ui.ctsTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("CT"), _("State")])
        table.verticalHeader().setVisible(False)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.connect("itemChanged(QTableWidgetItem*)", self._ticked)
        table.connect("cellClicked(int,int)", self._clicked)
        self.ui.manyProgressBar.visible = False
        for button, slot in (
            (self.ui.sceneCtsButton, self.list_scene),
            (self.ui.dicomCtsButton, self.list_selected),
            (self.ui.segmentAllButton, self._segment_or_cancel),
        ):
            button.connect("clicked()", slot)
        self._hint, self._reason = self.ui.segmentAllButton.toolTip, ""
        panel.refreshed = self._refresh
        self._refresh()

    @property
    def running(self) -> bool:
        """Whether CTs of the list are loaded or segmented now."""
        return bool(self._timer.active)

    # the list

    def list_scene(self) -> None:
        """List the CTs of the scene; those that have a result are not ticked."""
        nodes = cts_of_scene()
        self._list([_row_of(node) for node in nodes])
        if not nodes:
            self._say(_("There is no CT in the scene."))

    def list_selected(self) -> None:
        """List the CT series of the patients, studies or series that are selected in the DICOM browser."""
        series = selected_series()
        self._list([_Row(title_of_series(uid), series=uid, state=_("not loaded yet")) for uid in series])
        if not series:
            slicer.util.selectModule("DICOM")
            self._say(_("Select patients, studies or series with CTs in the DICOM browser, and come back."))

    def _list(self, rows: Sequence[_Row]) -> None:
        self._rows = list(rows)
        self._say("")
        self._show_rows()

    def _show_rows(self) -> None:
        table = self.ui.ctsTable
        self._filling = True
        table.setRowCount(len(self._rows))
        for place, row in enumerate(self._rows):
            name = qt.QTableWidgetItem(row.title)
            name.setCheckState(qt.Qt.Checked if row.wanted else qt.Qt.Unchecked)
            state = qt.QTableWidgetItem(row.state)
            state.setToolTip(row.state)
            table.setItem(place, 0, name)
            table.setItem(place, 1, state)
        self._filling = False
        self._refresh()

    def _set_state(self, row: _Row, state: str) -> None:
        if row.state == state or row not in self._rows:
            return
        row.state = state
        item = self.ui.ctsTable.item(self._rows.index(row), 1)
        item.setText(state)
        item.setToolTip(state)

    def _ticked(self, item: Any) -> None:
        if not self._filling and item.column() == 0:
            self._rows[item.row()].wanted = item.checkState() == qt.Qt.Checked
            self._refresh()

    def _clicked(self, place: int, _column: int) -> None:
        """Show a CT with its result, and hide the results of the others."""
        ct = self._rows[place].node
        if ct is None:
            return
        self._panel_ui.ctSelector.setCurrentNode(ct)
        slicer.util.setSliceViewerLayers(background=ct, fit=True)
        for row in self._rows:
            result = newest_result(row.node) if row.node is not None else None
            if result is not None and result.GetDisplayNode() is not None:
                result.GetDisplayNode().SetVisibility(row.node is ct)

    # the run

    def _segment_or_cancel(self) -> None:
        if self.running:
            self.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be started."), waitCursor=False):
            self.segment()

    def segment(self) -> None:
        """Load what is ticked and not loaded yet, and segment it all with one loaded model."""
        if self._panel.why_busy() or not self._panel._is_ready():
            return
        self._at_work = [row for row in self._rows if row.wanted]
        self._wanted = len(self._at_work)
        for row in self._at_work:
            self._set_state(row, _("waits"))
        self.ui.manyProgressBar.value = 0
        self._timer.start()
        self._refresh()

    def cancel(self) -> None:
        """Stop; what is done stays."""
        if self.run is not None:
            self._say(_("Stopping …"))
            self.run.cancel()
        elif self.running:
            self._finished(True)

    def close_scene(self) -> None:
        """The scene goes, and with it all that is listed."""
        self.cancel()
        self._at_work = []
        self._list([])

    def end(self) -> None:
        """Nothing may go on after the panel: the module is reloaded, or Slicer ends."""
        self._timer.stop()
        if self.run is not None:
            self.run.kill()
            self.run = None

    def _poll(self) -> None:
        if self.run is not None:
            self.run.poll()
            return
        # One series at a time, so that the list shows how far it is; Slicer itself loads on the main thread only.
        row = next((row for row in self._at_work if not row.node_id and row.series), None)
        if row is None:
            self._start()
            return
        self._say(_("Loading '{title}' …").format(title=row.title))
        self._load(row)

    def _load(self, row: _Row) -> None:
        try:
            nodes = load_series(row.series)
        except Exception as error:
            nodes, reason = [], str(error)
        else:
            reason = _("holds no CT volume")
        row.series = ""
        if nodes:
            row.node_id = nodes[0].GetID()
            more = [_Row(node.GetName(), node.GetID(), state=_("waits")) for node in nodes[1:]]
            if more:
                self._rows += more
                self._at_work += more
                self._wanted += len(more)
                self._show_rows()
        else:
            self._set_state(row, _("not loaded: {reason}").format(reason=reason))

    def _start(self) -> None:
        self._at_work = [row for row in self._at_work if row.node is not None and self._can_be_read(row)]
        if not self._at_work:
            self._finished(False)
            return
        parameters = self._panel.parameters
        choices = {name: getattr(parameters, name) for name in CHOICES if hasattr(parameters, name)}
        choices["structures"] = [name for name in parameters.structures.split(",") if name]
        callbacks = Callbacks(
            progress=self._on_progress,
            message=self._log,
            done=self._on_done,
            error=self._on_error,
            finished=self._finished,
        )
        cts = [row.node for row in self._at_work]
        try:
            results = [newest_result(ct) for ct in cts]
            self.run = process(cts, results, wait=False, callbacks=callbacks, preview=False, **choices)
        except SegmentationError as error:
            self._finished(False)
            self._say(str(error))
            return
        self.ui.manyProgressBar.visible = True

    def _can_be_read(self, row: _Row) -> bool:
        """Whether a node holds a CT; one that does not would cost all the others."""
        try:
            volume_of(row.node)
        except InputError as error:
            self._set_state(row, _("failed: {reason}").format(reason=error))
            return False
        return True

    def _on_progress(self, fraction: float, text: str, seconds_left: float | None) -> None:
        count = len(self._at_work)
        place = min(int(fraction * count), count - 1)
        row = self._at_work[place]
        if self.run is not None and not _is_answered(self.run.outcomes[place]):
            self._set_state(row, _("{percent} %").format(percent=round(100 * (fraction * count - place))))
        self.ui.manyProgressBar.value = round(1000 * fraction)
        words = _("{text}; {time} left") if seconds_left is not None else "{text}"
        self._say(words.format(text=text, time=spoken(seconds_left or 0)))

    def _on_done(self, outcome: Outcome) -> None:
        row = self._row_of(outcome)
        if row is not None:
            count = len(outcome.found)
            self._set_state(row, _("done: {count} structures").format(count=count))
            self._tick(row, False)
        shown = self._panel_ui.ctSelector.currentNode()
        if outcome.ct is not shown and outcome.segmentation.GetDisplayNode() is not None:
            outcome.segmentation.GetDisplayNode().SetVisibility(False)

    def _on_error(self, text: str, _details: str) -> None:
        self._log(text)
        for outcome in self.run.outcomes if self.run is not None else ():
            row = self._row_of(outcome)
            if row is not None and outcome.error:
                self._set_state(row, _("failed: {reason}").format(reason=for_window(outcome.error)))

    def _finished(self, cancelled: bool) -> None:
        self._timer.stop()
        run, self.run = self.run, None
        done = sum(outcome.segmentation is not None and not outcome.error for outcome in run.outcomes) if run else 0
        for row in self._at_work:
            if row.state == _("waits") or row.state.endswith("%"):
                self._set_state(row, _("not done"))
        words = _("Cancelled; {done} of {count} done.") if cancelled else _("{done} of {count} done.")
        self._say(words.format(done=done, count=self._wanted) if self._rows else "")
        self.ui.manyProgressBar.visible = False
        self._at_work = []
        self._refresh()

    def _row_of(self, outcome: Outcome) -> _Row | None:
        return next((row for row in self._at_work if row.node is outcome.ct), None)

    def _tick(self, row: _Row, ticked: bool) -> None:
        row.wanted = ticked
        self.ui.ctsTable.item(self._rows.index(row), 0).setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)

    def _refresh(self) -> None:
        button, count = self.ui.segmentAllButton, sum(row.wanted for row in self._rows)
        busy = self.running
        reason = self._panel.why_busy()
        wanted = _("Segment one CT") if count == 1 else _("Segment {count} CTs").format(count=count)
        button.text = _("Cancel") if busy else wanted
        button.enabled = busy or bool(count and not reason)
        button.toolTip = reason or self._hint
        if reason or self.ui.manyStatusLabel.text == self._reason:
            self._say(reason)
        self._reason = reason
        self.ui.sceneCtsButton.enabled = self.ui.dicomCtsButton.enabled = not busy
        self._panel.occupy(_("Many CTs are being segmented; wait for them, or cancel them below.") if busy else "")

    def _log(self, text: str) -> None:
        self._panel_ui.logText.appendPlainText(for_window(text))

    def _say(self, text: str) -> None:
        self.ui.manyStatusLabel.text = text


def _row_of(node: Any) -> _Row:
    done = newest_result(node) is not None
    return _Row(node.GetName(), node.GetID(), state=_("has a result") if done else "", wanted=not done)


def _is_answered(outcome: Outcome) -> bool:
    return bool(outcome.error or outcome.rows)
