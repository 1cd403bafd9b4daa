"""The panel's results: those of the CT that is chosen, and of no other; in step with the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from FlarePanCancerLib import other_modules, results, scene
from FlarePanCancerLib.tables import LesionsTable, StructuresTable
from flareseg.labels import TUMOUR, title_of

MOST_NAMED = 6
"""Of the structures that were not found; public models look for a hundred."""


class ResultView:
    """What the collapsible *Results* shows. It reads the scene alone, so that a scene that is loaded shows its results.

    Args:
        ui: the widgets of FlarePanCancer.ui by name.
        looks_for_lesions: whether a model, by its name and version as in the measurements, does; None: not known.
    """

    def __init__(self, ui: Any, looks_for_lesions: Callable[[str], bool | None]) -> None:
        self.ui = ui
        self.segmentation: Any = None
        self.rows: list[results.Row] = []
        self._looks_for_lesions = looks_for_lesions
        self._seen: tuple[Any, ...] | None = ()
        self._edited = False
        self._observed: list[tuple[Any, int]] = []
        self._structures = StructuresTable(ui.structuresTable)
        self._lesions = LesionsTable(ui.lesionsTable, self._show_lesion)
        ui.show3DButton.connect("toggled(bool)", self._centre)
        ui.editButton.connect("clicked()", self._edit)
        ui.statisticsButton.connect("clicked()", self._open_statistics)
        self.show(None, None)

    def show(self, ct: Any, chosen: Any) -> None:
        """Show the result of a CT: the segmentation that is chosen if it is one, or else the newest; None: nothing."""
        segmentation = _result_of(ct, chosen)
        table = results.table_of(segmentation) if segmentation is not None else None
        seen = None
        if table is not None:
            seen = (segmentation.GetID(), table.GetID(), table.GetMTime(), table.GetTable().GetMTime(), ct.GetName())
        if seen == self._seen:
            return
        self._seen = seen
        self.rows = results.rows_of(table) if table is not None else []
        self._follow(segmentation if self.rows else None)
        self._fill(ct)

    def end(self) -> None:
        """Observe nothing any more."""
        self._follow(None)

    def measure_again(self) -> bool:
        """Measure the result anew if it was edited since; whether it was."""
        node = self.segmentation
        if not self._edited or node is None or not slicer.mrmlScene.IsNodePresent(node):
            return False
        ct = scene.ct_of(node)
        self._edited = False
        with slicer.util.tryWithErrorDisplay(_("The edited result could not be measured."), waitCursor=True):
            from FlarePanCancerLib.remeasure import measure_again

            rows = measure_again(node, ct, self.rows)
            results.write_table(rows, node)
            results.draw_diameters(rows, node)
            self._edited = False
            self.show(ct, node)
            return True
        return False

    def _follow(self, segmentation: Any) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self.segmentation, self._edited = [], segmentation, False
        self.ui.segmentsTable.setSegmentationNode(segmentation)
        self.ui.show3DButton.setSegmentationNode(segmentation)
        if segmentation is not None:
            kinds = slicer.vtkSegmentation
            for event in (kinds.SourceRepresentationModified, kinds.SegmentRemoved):
                self._observed.append((segmentation, segmentation.AddObserver(event, self._was_edited)))

    def _fill(self, ct: Any) -> None:
        there = self.segmentation is not None
        ui = self.ui
        self._structures.fill(self.rows)
        self._lesions.fill(self.rows)
        ui.resultLabel.text = self._about(ct) if there else _("Nothing is segmented yet.")
        ui.lesionsLabel.text = self._about_lesions() if there else ""
        ui.lesionsLabel.visible = there
        ui.lesionsTable.visible = bool(results.lesions(self.rows))
        for widget in (ui.structuresTable, ui.segmentsTable):
            widget.visible = there
        for button in (ui.editButton, ui.statisticsButton):
            button.enabled = there
        ui.resultsCollapsible.collapsed = not there

    def _about(self, ct: Any) -> str:
        """Whose result it is, and what was looked for and not found; of tumours the line about lesions speaks."""
        of = _("Result of '{ct}'.").format(ct=ct.GetName())
        every = [row for row in results.whole_structures(self.rows) if row["structure"] != TUMOUR]
        missing = [title_of(row["structure"]).lower() for row in every if not row["voxels"]]
        if not missing:
            return of
        words = _("{result} Not found: {structures}.")
        if len(missing) > MOST_NAMED:
            words = _("{result} Not found: {structures} and {count} more.")
        few = ", ".join(missing[:MOST_NAMED])
        return words.format(result=of, structures=few, count=len(missing) - MOST_NAMED)

    def _about_lesions(self) -> str:
        if not any(row["structure"] == TUMOUR for row in self.rows):
            if self._looks_for_lesions(str(self.rows[0].get("model") or "")) is False:
                return _("This model does not look for lesions.")
            return _("Lesions were not looked for.")
        count = len(results.lesions(self.rows))
        if count == 0:
            return _("No lesions. Not a diagnosis.")
        words = _("1 lesion. Not a diagnosis.") if count == 1 else _("{count} lesions. Not a diagnosis.")
        return words.format(count=count)

    def _was_edited(self, *_unused: Any) -> None:
        self._edited = True

    def _centre(self, shown: bool) -> None:
        layout = slicer.app.layoutManager()
        if shown and layout is not None:
            layout.resetThreeDViews()

    def _show_lesion(self, row: results.Row) -> None:
        if self.segmentation is not None and slicer.mrmlScene.IsNodePresent(self.segmentation):
            results.show_lesion(row, self.segmentation)

    def _edit(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The Segment Editor could not be opened."), waitCursor=False):
            other_modules.edit_segments(self.segmentation, scene.ct_of(self.segmentation))

    def _open_statistics(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("Segment Statistics could not be opened."), waitCursor=False):
            other_modules.open_statistics(self.segmentation, scene.ct_of(self.segmentation))


def counted(rows: Sequence[results.Row]) -> tuple[int, int]:
    """How many structures were found, and how many looked for."""
    every = results.whole_structures(rows)
    return sum(bool(row["voxels"]) for row in every), len(every)


def _result_of(ct: Any, chosen: Any) -> Any:
    if ct is None or not ct.IsA("vtkMRMLVolumeNode"):
        return None
    if chosen is not None and results.table_of(chosen) is not None and scene.may_hold(chosen, ct):
        return chosen
    return results.newest_result(ct)
