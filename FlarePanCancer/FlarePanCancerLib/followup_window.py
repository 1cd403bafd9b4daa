"""The window behind *Follow-up…*: two results of the scene, their lesions side by side, a click shows both dates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib import followup
from FlarePanCancerLib.followup import Command, Comparison, Lesion
from FlarePanCancerLib.job import temporary_folder
from FlarePanCancerLib.process import EngineProcess
from flareseg.labels import title_of
from flareseg.system.temporary import drop_temporary_folder

POLL_MS = 40


class FollowUpWindow:
    """The window. It is no modal one: one looks at the slices while it is open.

    Args:
        is_ready: asks for what the engine lacks, and says whether everything is there.
    """

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._process: EngineProcess | None = None
        self._folder: Path | None = None
        self._command: Command | None = None
        self._chosen: tuple[Any, ...] = ()
        self.comparison: Comparison | None = None
        self.dialog: Any = None
        self.selectors: tuple[Any, ...] = ()
        self.button: Any = None
        self.table: Any = None
        self.label: Any = None

    def show(self) -> None:
        """Open the window."""
        if self.dialog is None:
            self._make()
        self.dialog.show()
        self.dialog.activateWindow()

    def forget(self) -> None:
        """The scene goes: nothing that was compared is there any more."""
        self._stop()
        self.comparison, self._chosen = None, ()
        if self.dialog is not None:
            self.table.setRowCount(0)
            self._say(_("Choose the results of two CTs of one patient."))

    def end(self) -> None:
        """Nothing may go on after the panel: the module is reloaded, or Slicer ends."""
        self._stop()
        if self.dialog is not None:
            self.dialog.close()
            self.dialog.deleteLater()
            self.dialog = None

    def _make(self) -> None:
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.setWindowTitle(_("Follow-up"))
        self.dialog.resize(720, 480)
        layout = qt.QVBoxLayout(self.dialog)
        form = qt.QFormLayout()
        layout.addLayout(form)
        self.selectors = tuple(self._selector(form, text) for text in (_("Earlier result:"), _("Later result:")))
        self.button = qt.QPushButton(_("Compare"))
        self.button.connect("clicked()", self._compare)
        layout.addWidget(self.button)
        self.label = qt.QLabel(_("Choose the results of two CTs of one patient."))
        self.label.setWordWrap(True)
        layout.addWidget(self.label)
        self.table = qt.QTableWidget()
        titles = [_("Lesion"), _("Lies in"), _("Earlier, mm"), _("Later, mm"), _("Change"), _("Remarks")]
        self.table.setColumnCount(len(titles))
        self.table.setHorizontalHeaderLabels(titles)
        self.table.verticalHeader().setVisible(False)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        self.table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self.table.setToolTip(_("Click on a lesion to see it at both dates."))
        self.table.connect("cellClicked(int,int)", self._show_lesion)
        layout.addWidget(self.table)
        self.dialog.connect("finished(int)", self._closed)

    def _selector(self, form: Any, text: str) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLSegmentationNode"]
        selector.addEnabled = selector.removeEnabled = False
        selector.setMRMLScene(slicer.mrmlScene)
        form.addRow(text, selector)
        return selector

    def _compare(self) -> None:
        if self._process is not None:
            self._stop()
            self._say(_("Cancelled."))
            return
        self._chosen = tuple(selector.currentNode() for selector in self.selectors)
        if None in self._chosen or self._chosen[0] == self._chosen[1]:
            self._say(_("Choose two results."))
            return
        if not self._is_ready():
            return
        self._folder = temporary_folder()
        try:
            self._command = followup.write_for_engine(self._chosen, self._folder)
            self._process = EngineProcess(self._command.arguments)
            self._process.start()
        except (ValueError, OSError) as error:
            self._stop()
            self._say(str(error))
            return
        self.button.setText(_("Cancel"))
        self._say(_("Comparing …"))
        self._timer.start()

    def _poll(self) -> None:
        process, command = self._process, self._command
        if process is None or command is None:
            return
        process.events()
        if process.running:
            return
        found, reason = None, followup.named(process.why_it_failed(), self._chosen)
        if not reason:
            try:
                found = followup.read_comparison(command.table, self._chosen)
            except (OSError, ValueError, KeyError, IndexError) as error:
                reason = _("The comparison cannot be read: {reason}").format(reason=error)
        self._stop()  # whatever the window does with it, nothing is polled twice
        if found is None:
            self._say(reason)
        else:
            self._fill(found)

    def _fill(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.table.setRowCount(len(comparison.lesions))
        for row, lesion in enumerate(comparison.lesions):
            for column, text in enumerate(_cells(lesion)):
                self.table.setItem(row, column, qt.QTableWidgetItem(text))
        self.table.resizeColumnsToContents()
        category = _("By RECIST 1.1's numbers, no diagnosis: {verdict}.").format(verdict=comparison.verdict)
        self._say("\n".join([category, *comparison.notes]))
        layouts = slicer.app.layoutManager()
        if layouts is not None:
            layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
        followup.show_dates(comparison.results)
        if comparison.lesions:
            followup.show_lesion_at_both(comparison.lesions[0], comparison.results)

    def _show_lesion(self, row: int, _column: int) -> None:
        if self.comparison is not None:
            followup.show_lesion_at_both(self.comparison.lesions[row], self.comparison.results)

    def _say(self, text: str) -> None:
        if self.label is not None:
            self.label.setText(text)

    def _stop(self) -> None:
        self._timer.stop()
        if self._process is not None:
            self._process.kill()
        if self._folder is not None:
            drop_temporary_folder(self._folder)
        self._process = self._folder = self._command = None
        if self.button is not None:
            self.button.setText(_("Compare"))

    def _closed(self, _result: int) -> None:
        self._stop()
        if self.comparison is not None:
            followup.show_everywhere(self.comparison.results)


def _cells(lesion: Lesion) -> tuple[str, ...]:
    """Of a row: number, with a star where it is a target; organ; both diameters; change; what is to be said."""
    before, after = lesion["scans"][0], lesion["scans"][-1]
    change = after["change_per_cent"]
    return (
        f"{lesion['number']}{' *' if lesion['target'] else ''}",
        title_of(lesion["host"]) if lesion["host"] else "",
        _diameter(before),
        _diameter(after),
        f"{change:+.1f} %" if change is not None else "",
        after["remarks"] or "",
    )


def _diameter(scan: Lesion) -> str:
    return f"{scan['longest_mm']:.1f}" if scan["longest_mm"] else "–"
