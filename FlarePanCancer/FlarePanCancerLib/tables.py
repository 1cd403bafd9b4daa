"""Lists and tables of the panel: structures to choose; those found with colour and visibility; lesions to click on;
public models to get."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from FlarePanCancerLib.offers import Offer
from FlarePanCancerLib.results import Row, lesions, whole_structures
from flareseg.labels import Structure, title_of

STRUCTURE_TITLES = ("", "Structure", "Volume, ml", "Mean HU")
LESION_TITLES = ("Lesion", "Lies in", "Volume, ml", "Longest, mm", "Mean HU")
OFFER_TITLES = ("Model", "Structures", "Licence of the weights", "Download", "")
ROW_HEIGHT = 24
"""Of the list of public models, in pixels: it is long."""
CUT = "≥ "
TO_READ = (190, 95, 0)
"""The colour of a licence that has to be read; its words say so too."""
CUT_TIP = "It reaches the edge of the scan, which may have cut it off."


class StructuresList:
    """A QListWidget with a tick for each structure that a model can segment.

    Args:
        widget: the QListWidget.
        changed: called when a tick is set or taken away.
    """

    def __init__(self, widget: Any, changed: Callable[[], None]) -> None:
        self._widget = widget
        self.known: tuple[Structure, ...] = ()
        widget.connect("itemChanged(QListWidgetItem*)", lambda *_: changed())

    def fill(self, known: tuple[Structure, ...]) -> None:
        """Show what the chosen model can segment, all of it ticked."""
        import qt

        self.known = known
        self._widget.clear()
        for structure in known:
            item = qt.QListWidgetItem(structure.title)
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked)
            self._widget.addItem(item)

    def wanted(self) -> tuple[str, ...]:
        """The names of the structures that are ticked."""
        import qt

        items = [self._widget.item(n) for n in range(len(self.known))]
        pairs = zip(self.known, items, strict=True)
        return tuple(structure.name for structure, item in pairs if item.checkState() == qt.Qt.Checked)

    def all_wanted(self) -> bool:
        return len(self.wanted()) == len(self.known)

    def tick(self, names: Collection[str] | None = None) -> None:
        """Tick these structures and no others; all unless given."""
        import qt

        for number, structure in enumerate(self.known):
            ticked = names is None or structure.name in names
            self._widget.item(number).setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)


class StructuresTable:
    """A QTableWidget with a row for each structure that was found; its tick shows and hides the segment.

    Args:
        widget: the QTableWidget.
        shown: called with a structure's name and whether it shall be seen.
    """

    def __init__(self, widget: Any, shown: Callable[[str, bool], None]) -> None:
        self._widget, self._shown = widget, shown
        self._names: list[str] = []
        _prepare(widget, STRUCTURE_TITLES)
        widget.connect("itemChanged(QTableWidgetItem*)", self._changed)

    def fill(self, rows: Sequence[Row], structures: Sequence[Structure]) -> None:
        """Show what was found of the structures that were looked for."""
        import qt

        known = {structure.name: structure for structure in structures}

        found = [row for row in whole_structures(rows) if row["voxels"]]
        self._names = []
        self._widget.setRowCount(len(found))
        for place, row in enumerate(found):
            structure = known[row["structure"]]
            tick = qt.QTableWidgetItem()
            tick.setCheckState(qt.Qt.Checked)
            tick.setBackground(qt.QBrush(qt.QColor(*structure.colour)))
            tick.setToolTip("Show or hide it.")
            cells = [tick, _text(structure.title), *(_cells(row))]
            for column, cell in enumerate(cells):
                self._widget.setItem(place, column, cell)
        self._names = [row["structure"] for row in found]  # from now on ticks are the user's
        self._widget.resizeColumnsToContents()

    def _changed(self, item: Any) -> None:
        import qt

        place = item.row()
        if item.column() == 0 and place < len(self._names):
            self._shown(self._names[place], item.checkState() == qt.Qt.Checked)


class LesionsTable:
    """A QTableWidget with a row for each lesion.

    Args:
        widget: the QTableWidget.
        clicked: called with the row of measurements of a lesion.
    """

    def __init__(self, widget: Any, clicked: Callable[[Row], None]) -> None:
        self._widget, self._clicked = widget, clicked
        self._rows: list[Row] = []
        _prepare(widget, LESION_TITLES)
        widget.connect("cellClicked(int,int)", self._click)

    def fill(self, rows: Sequence[Row]) -> None:
        """Show the lesions."""
        self._rows = lesions(rows)
        self._widget.setRowCount(len(self._rows))
        for place, row in enumerate(self._rows):
            host = title_of(row["host"]) if row["host"] else "no organ"
            volume, hu = _cells(row)
            longest = _text(f"{row['longest_mm']:.0f} × {row['perpendicular_mm']:.0f}")
            for column, cell in enumerate((_text(str(row["lesion"])), _text(host), volume, longest, hu)):
                self._widget.setItem(place, column, cell)
        self._widget.resizeColumnsToContents()

    def _click(self, row: int, _column: int) -> None:
        self._clicked(self._rows[row])


class OffersTable:
    """A QTableWidget with a row for each public model that the user may get.

    Args:
        widget: the QTableWidget.
        changed: called when another one is chosen.
    """

    def __init__(self, widget: Any, changed: Callable[[], None]) -> None:
        import qt

        self._widget, self._changed = widget, changed
        self._offers: Sequence[Offer] = ()
        _prepare(widget, OFFER_TITLES)
        widget.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        widget.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        widget.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        widget.connect("itemSelectionChanged()", changed)

    @property
    def chosen(self) -> Offer | None:
        place = self._widget.currentRow()
        return self._offers[place] if 0 <= place < len(self._offers) else None

    def fill(self, offers: Sequence[Offer]) -> None:
        """Show these; the one that was chosen stays chosen, or else the first is."""
        import qt

        before = self.chosen
        self._widget.blockSignals(True)
        self._offers = offers
        self._widget.setRowCount(len(offers))
        for place, offer in enumerate(offers):
            state = qt.QTableWidgetItem("✓ installed" if offer.installed else "")
            licence = _text(offer.licence)
            if offer.needs_acceptance:
                licence.setForeground(qt.QBrush(qt.QColor(*TO_READ)))
            cells = (_text(offer.title), _text(offer.structures), licence, _text(offer.size), state)
            for column, cell in enumerate(cells):
                cell.setToolTip(offer.purpose)
                self._widget.setItem(place, column, cell)
        self._widget.resizeColumnsToContents()
        names = [offer.name for offer in offers]
        self._widget.selectRow(names.index(before.name) if before is not None and before.name in names else 0)
        self._widget.blockSignals(False)
        self._changed()


def _prepare(widget: Any, titles: Sequence[str]) -> None:
    import qt

    widget.setColumnCount(len(titles))
    widget.setHorizontalHeaderLabels(list(titles))
    widget.verticalHeader().setVisible(False)
    widget.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    widget.setSelectionBehavior(qt.QAbstractItemView.SelectRows)


def _cells(row: Row) -> tuple[Any, Any]:
    """Volume and mean HU."""
    volume = _text(f"{CUT if row['touches_border'] else ''}{row['volume_ml']:,.1f}")
    if row["touches_border"]:
        volume.setToolTip(CUT_TIP)
    return volume, _text(f"{row['mean_hu']:.0f}")


def _text(text: str) -> Any:
    import qt

    return qt.QTableWidgetItem(text)
