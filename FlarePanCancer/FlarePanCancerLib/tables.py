"""Lists and tables of the panel: structures to choose; measurements of those found; lesions to click on; public models
to get."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from slicer.i18n import tr as _

from FlarePanCancerLib.offers import Offer
from FlarePanCancerLib.results import Row, lesions, structure_of, whole_structures
from flareseg.expectation import CHECK_BELOW, is_doubtful
from flareseg.labels import Structure, title_of

ROW_HEIGHT = 24
"""In pixels, where there are many rows."""
CUT = "≥ "
TO_READ = (190, 95, 0)
"""The colour of a licence that has to be read; its words say so too."""


class StructuresList:
    """A QListWidget with a tick for each structure that a model can segment.

    Args:
        widget: the QListWidget.
        changed: called when a tick is set or taken away.
    """

    def __init__(self, widget: Any, changed: Callable[[], None]) -> None:
        self._widget, self._changed = widget, changed
        self._quiet = False
        self.known: tuple[Structure, ...] = ()
        widget.connect("itemChanged(QListWidgetItem*)", self._item_changed)

    def fill(self, known: tuple[Structure, ...]) -> None:
        """Show what the chosen model can segment, all of it ticked."""
        import qt

        self.known = known
        self._quiet = True
        self._widget.clear()
        for structure in known:
            item = qt.QListWidgetItem(structure.title)
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked)
            self._widget.addItem(item)
        self._quiet = False

    def _item_changed(self, *_unused: Any) -> None:
        if not self._quiet:
            self._changed()

    def wanted(self) -> tuple[str, ...]:
        """The names of the structures that are ticked."""
        import qt

        items = [self._widget.item(n) for n in range(len(self.known))]
        pairs = zip(self.known, items, strict=True)
        return tuple(structure.name for structure, item in pairs if item.checkState() == qt.Qt.Checked)

    def all_wanted(self) -> bool:
        return len(self.wanted()) == len(self.known)

    def tick(self, names: Collection[str] | None = None) -> None:
        """Tick these structures and no others; all unless given. `changed` is called once."""
        self.show(names)
        self._changed()

    def show(self, names: Collection[str] | None = None) -> None:
        """As `tick`, without a word to `changed`."""
        import qt

        self._quiet = True
        for number, structure in enumerate(self.known):
            ticked = names is None or structure.name in names
            self._widget.item(number).setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
        self._quiet = False


class StructuresTable:
    """A QTableWidget with the measurements of each structure that was found, beside its colour."""

    def __init__(self, widget: Any) -> None:
        self._widget = widget
        _prepare(widget, ("", _("Structure"), _("Volume, ml"), _("Mean HU")))
        _stretch(widget, 1)

    def fill(self, rows: Sequence[Row]) -> None:
        """Show what was found of the structures that were looked for; without rows, nothing."""
        import qt

        found = [row for row in whole_structures(rows) if row["voxels"]]
        self._widget.setRowCount(len(found))
        for place, row in enumerate(found):
            structure = structure_of(row)
            swatch = qt.QTableWidgetItem()
            swatch.setBackground(qt.QBrush(qt.QColor(*structure.colour)))
            title = _titled(structure.title, row)
            for column, cell in enumerate((swatch, title, *_cells(row))):
                self._widget.setItem(place, column, cell)
            self._widget.setRowHeight(place, ROW_HEIGHT * len(title.text().splitlines()))
        _fit_height(self._widget)


class LesionsTable:
    """A QTableWidget with a row for each lesion.

    Args:
        widget: the QTableWidget.
        clicked: called with the row of measurements of a lesion.
    """

    def __init__(self, widget: Any, clicked: Callable[[Row], None]) -> None:
        self._widget, self._clicked = widget, clicked
        self._rows: list[Row] = []
        _prepare(widget, (_("Lesion"), _("Lies in"), _("Volume, ml"), _("Longest, mm"), _("Mean HU")))
        _stretch(widget, 1)
        widget.connect("cellClicked(int,int)", self._click)

    def fill(self, rows: Sequence[Row]) -> None:
        """Show the lesions."""
        self._rows = lesions(rows)
        self._widget.setRowCount(len(self._rows))
        for place, row in enumerate(self._rows):
            host = title_of(row["host"]) if row["host"] else _("no organ")
            volume, hu = _cells(row)
            longest = _text(f"{row['longest_mm']:.0f} × {row['perpendicular_mm']:.0f}")
            for column, cell in enumerate((_text(str(row["lesion"])), _text(host), volume, longest, hu)):
                self._widget.setItem(place, column, cell)
        _fit_height(self._widget)

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
        _prepare(widget, (_("Model"), _("Structures"), _("Licence of the weights"), _("Download"), ""))
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
            state = qt.QTableWidgetItem(_("✓ installed") if offer.installed else "")
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


def _stretch(widget: Any, column: int) -> None:
    """That column takes what the others, as wide as their texts, leave; there is nothing to scroll sideways."""
    import qt

    header = widget.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(column, qt.QHeaderView.Stretch)
    widget.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
    for policy in (widget.setHorizontalScrollBarPolicy, widget.setVerticalScrollBarPolicy):
        policy(qt.Qt.ScrollBarAlwaysOff)


def _fit_height(widget: Any) -> None:
    """As high as its rows: it is the panel that is scrolled."""
    rows = sum(widget.rowHeight(number) for number in range(widget.rowCount))
    widget.setFixedHeight(rows + widget.horizontalHeader().sizeHint.height() + 2 * widget.frameWidth)


def _cells(row: Row) -> tuple[Any, Any]:
    """Volume and mean HU."""
    volume = _text(f"{CUT if row['touches_border'] else ''}{row['volume_ml']:,.1f}")
    if row["touches_border"]:
        volume.setToolTip(_("It reaches the edge of the scan, which may have cut it off."))
    return volume, _text("" if row["mean_hu"] is None else f"{row['mean_hu']:.0f}")


def _titled(title: str, row: Row) -> Any:
    """A structure's title, and below, where a low DSC is expected of it, that it should be checked."""
    expected_dsc = row.get("expected_dsc")  # not in scenes that earlier versions saved
    if not is_doubtful(expected_dsc):
        return _text(title)
    words = _("{structure}\ncheck this: expected DSC {dsc}")
    cell = _text(words.format(structure=title, dsc=f"{expected_dsc:.2f}"))
    tip = _("In CTs that the model had not seen, what it was as unsure of had a DSC below {limit} on average.")
    cell.setToolTip(tip.format(limit=f"{CHECK_BELOW:.2f}"))
    return cell


def _text(text: str) -> Any:
    import qt

    return qt.QTableWidgetItem(text)
