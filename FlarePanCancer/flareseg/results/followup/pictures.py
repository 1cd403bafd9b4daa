"""Every lesion of a follow-up in all scans, side by side, as one picture."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flareseg import __version__
from flareseg.labels import TUMOUR
from flareseg.results.canvas import DPI, ON_SCREEN, fonts_for
from flareseg.results.followup.comparison import FollowUp
from flareseg.results.followup.shapes import index_of
from flareseg.results.followup.table import change_of, diameter, per_cent, title_of
from flareseg.results.followup.timepoint import Timepoint
from flareseg.results.followup.tracks import Sighting, Track
from flareseg.results.overlay import draw
from flareseg.results.picture import DISCLAIMER
from flareseg.results.views import View
from flareseg.system.private_imports import import_matplotlib
from flareseg.text import shortened
from flareseg.volume import Triple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LESIONS = 10
"""Target lesions, then new ones, then the others."""
FIELD_MM, AROUND_MM = 120.0, 30.0
"""What a panel shows: this, or a lesion and so much around it."""
PANEL, GAP, MARGIN, TITLE, CAPTION, NAMES = 380, 16, 40, 90, 40, 230
"""Layout, in pixels."""
LINE = "#ffe14d"
LONGEST_NAME = 30
AIR_HU = -1000


def write_pictures(found: FollowUp, path: Path) -> None:
    """Draw the lesions and write them as PNG to `path`; every scan must have its CT.

    Raises:
        ImportError: without matplotlib.
    """
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tracks = _shown(found)
    width = 2 * MARGIN + NAMES + len(found.times) * (PANEL + GAP) - GAP
    height = TITLE + len(tracks) * (PANEL + CAPTION) + MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=ON_SCREEN.background)
    canvas = FigureCanvasAgg(figure)
    texts = _Texts(figure, width, height, fonts_for("".join(scan.name for scan in found.times)))
    for column, scan in enumerate(found.times):
        left = MARGIN + NAMES + column * (PANEL + GAP)
        texts.write(left, 46, shortened(scan.name, LONGEST_NAME), 20, ON_SCREEN.bright)
        texts.write(left, 74, scan.scanned.isoformat() if scan.scanned else f"scan {column + 1}", 16, ON_SCREEN.dim)
        for row, track in enumerate(tracks):
            top = TITLE + row * (PANEL + CAPTION)
            _draw_sighting(figure, scan, track, column, (left / width, 1 - (top + PANEL) / height))
            sighting, words = track.sightings[column], found.remarks(track, column)
            if sighting.lesions:
                words.insert(0, f"{diameter(sighting, known=True)} mm")
            texts.write(left, top + PANEL + 24, ", ".join(words), 15, ON_SCREEN.plain)
    for row, track in enumerate(tracks):
        top = TITLE + row * (PANEL + CAPTION) + 30
        texts.write(
            MARGIN, top, f"Lesion {track.number}{'' if found.why_not[track.number] else ' *'}", 20, ON_SCREEN.bright
        )
        texts.write(MARGIN, top + 28, title_of(track), 16, ON_SCREEN.dim)
        texts.write(MARGIN, top + 56, per_cent(change_of(track, len(found.times) - 1)), 16, ON_SCREEN.plain)
    texts.write(
        MARGIN, height - 14, f"{DISCLAIMER}   ·   * target lesion   ·   flareseg {__version__}", 14, ON_SCREEN.dim
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.print_png(path, metadata={"Software": f"flareseg {__version__}"})


class _Texts:
    """Texts in a figure, by pixels from its upper left corner."""

    def __init__(self, figure: Figure, width: int, height: int, fonts: list[str]) -> None:
        self._figure, self._size, self._fonts = figure, (width, height), fonts

    def write(self, x: float, y: float, text: str, size_px: float, colour: str) -> None:
        at = x / self._size[0], 1 - y / self._size[1]
        self._figure.text(*at, text, size=size_px * 72 / DPI, color=colour, family=self._fonts, parse_math=False)


def _shown(found: FollowUp) -> list[Track]:
    order = sorted(found.tracks, key=lambda track: (bool(found.why_not[track.number]), not track.first, track.number))
    return order[:MOST_LESIONS]


def _draw_sighting(figure: Figure, scan: Timepoint, track: Track, time: int, corner: tuple[float, float]) -> None:
    """One panel: the slice of the longest diameter, or where the lesion would be."""
    assert scan.volume is not None
    sighting = track.sightings[time]
    width, height = figure.get_size_inches() * DPI
    axes = figure.add_axes((*corner, PANEL / width, PANEL / height))
    axes.set_axis_off()
    axes.set_xlim(0, PANEL)
    axes.set_ylim(PANEL, 0)
    if not sighting.in_view:
        axes.text(
            PANEL / 2, PANEL / 2, "out of view", color=ON_SCREEN.dim, ha="center", va="center", size=16 * 72 / DPI
        )
        return
    crop = _Crop(scan, sighting.place_xyz_mm, _field_mm(track))
    tumour = next(structure for structure in scan.segmentation.structures if structure.name == TUMOUR)
    view, edges = crop.view(tumour.value), (0, PANEL, PANEL, 0)
    axes.imshow(draw(replace(view, labels=np.zeros_like(view.labels)), PANEL, PANEL), extent=edges)
    if view.labels.any():  # an outline alone, so that one sees what is in it
        colour = tuple(part / 255 for part in tumour.colour)
        axes.contour(view.labels > 0, [0.5], colors=[colour], linewidths=1.1, extent=edges, origin="upper")
    for x, y in _lines(crop, sighting):
        axes.plot(x, y, color=LINE, linewidth=1.3)
    if not sighting.lesions:
        axes.plot([PANEL / 2], [PANEL / 2], marker="o", markersize=26, markerfacecolor="none", color=LINE, alpha=0.8)


def _lines(crop: _Crop, sighting: Sighting) -> list[tuple[list[float], list[float]]]:
    """The longest diameters that lie in the slice, in pixels of the panel."""
    lines = []
    for lesion in sighting.lesions:
        ends = [crop.pixel_of(end) for end in (lesion.longest.start_xyz_mm, lesion.longest.end_xyz_mm)]
        if all(abs(z) < 0.6 for z, _, _ in ends):
            lines.append(([x for _, _, x in ends], [y for _, y, _ in ends]))
    return lines


def _field_mm(track: Track) -> float:
    return max(FIELD_MM, *(one.longest_mm + 2 * AROUND_MM for one in track.sightings))


class _Crop:
    """A square of an axial slice about a place; beyond the scan there is air."""

    def __init__(self, scan: Timepoint, place_xyz_mm: Triple, field_mm: float) -> None:
        self._scan = scan
        z, y, x = index_of(np.array([place_xyz_mm]), scan.grid)[0]
        self._slice = int(np.clip(round(z), 0, scan.grid.shape_zyx[0] - 1))
        self._mm = scan.grid.spacing_zyx_mm[1:]
        self._count = [max(8, round(field_mm / mm)) for mm in self._mm]
        self._first = [round(at - n / 2) for at, n in zip((y, x), self._count, strict=True)]

    def view(self, value: int) -> View:
        """The slice; of the labels, one value."""
        assert self._scan.volume is not None
        shape = self._scan.grid.shape_zyx[1:]
        rows, columns = (first + np.arange(n) for first, n in zip(self._first, self._count, strict=True))
        inside = ((rows >= 0) & (rows < shape[0]))[:, None] & (columns >= 0) & (columns < shape[1])
        where = np.ix_(*(np.clip(at, 0, size - 1) for at, size in zip((rows, columns), shape, strict=True)))
        hu = np.where(inside, self._scan.volume.hu[self._slice][where], AIR_HU).astype(np.float32)
        drawn = inside & (self._scan.segmentation.labels[self._slice][where] == value)
        labels = np.where(drawn, value, 0).astype(np.uint8)
        return View("axial", hu, labels, (self._mm[0], self._mm[1]), ("R", "L", "A", "P"), "")

    def pixel_of(self, place_xyz_mm: Triple) -> tuple[float, float, float]:
        """Slices off, row and column in the panel."""
        z, y, x = index_of(np.array([place_xyz_mm]), self._scan.grid)[0]
        row, column = (
            (at + 0.5 - first) * PANEL / n for at, first, n in zip((y, x), self._first, self._count, strict=True)
        )
        return float(z - self._slice), float(row), float(column)
