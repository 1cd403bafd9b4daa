"""The report's picture: slices of the CT with the structures in their colours, and a legend with their volumes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flareseg import __version__, labels
from flareseg.labels import Structure
from flareseg.results.measure import Measurement
from flareseg.results.views import OBLIQUE_DEGREES, View, choose_views, obliquity_degrees
from flareseg.segmentation import Segmentation
from flareseg.system.private_imports import import_matplotlib
from flareseg.text import shortened
from flareseg.volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW_HU, LEVEL_HU = 400.0, 40.0
OPACITY = 0.45
OUTLINE_PX = 1.5
OVERSAMPLING = 2
DISCLAIMER = "Research use only. Not a medical device."

BACKGROUND = (13 / 255, 15 / 255, 19 / 255)
BRIGHT, PLAIN, DIM, FAINT = "#f4f5f7", "#c9cdd4", "#868d98", "#4d535d"

# Layout, in pixels.
DPI = 100
MARGIN, GAP, HEADER, FOOTER, CAPTION = 56, 28, 140, 72, 36
COLUMNS, CELL_WIDTH, TALLEST_ROW, LEAST_HEIGHT = 3, 590, 760, 1080
LEGEND_WIDTH, LEGEND_GAP, LEGEND_ROW = 440, 64, 46
LARGEST_SCALE_PX_PER_MM = 12.0
SCALE_BAR_MM = 50
LEAST_HEIGHT_FOR_LETTERS = 120


@dataclass(frozen=True)
class Panel:
    """Where a view lies in the picture: its left and top edge and its size, in pixels."""

    view: View
    left: int
    top: int
    width: int
    height: int
    number: int | None = None

    @property
    def px_per_mm(self) -> float:
        return self.width / self.view.size_mm[1]


def layout(views: Sequence[View]) -> tuple[list[Panel], int, int]:
    """Panels in rows of three, all at one scale where the rows' height allows; and the picture's width and height."""
    scale = min(LARGEST_SCALE_PX_PER_MM, *(CELL_WIDTH / view.size_mm[1] for view in views))
    sizes = []
    for view in views:
        fitted = min(scale, TALLEST_ROW / view.size_mm[0])
        sizes.append([max(1, round(fitted * mm)) for mm in view.size_mm])
    panels, top = [], HEADER
    for first in range(0, len(views), COLUMNS):
        row = range(first, min(first + COLUMNS, len(views)))
        height = max(sizes[index][0] for index in row)
        top += CAPTION
        for column, index in enumerate(row):
            left = MARGIN + column * (CELL_WIDTH + GAP) + (CELL_WIDTH - sizes[index][1]) // 2
            number = index + 1 if views[index].plane == "axial" else None
            panels.append(Panel(views[index], left, top, sizes[index][1], sizes[index][0], number))
        top += height + GAP
    columns = min(COLUMNS, len(views))
    width = 2 * MARGIN + columns * CELL_WIDTH + (columns - 1) * GAP + LEGEND_GAP + LEGEND_WIDTH
    return panels, width, max(LEAST_HEIGHT, top + FOOTER)


def draw(view: View, width: int, height: int, structures: Sequence[Structure] | None = None) -> NDArray[np.float32]:
    """The slice in a soft-tissue window with the labels over it, half transparent and outlined.

    Args:
        view: the slice.
        width, height: of the picture, in pixels.
        structures: whose colours the labels have; FLARE's unless given.

    Returns:
        (height, width, 3) red, green and blue, 0 to 1.
    """
    hu = _weights(view.hu.shape[0], height, 3) @ view.hu.astype(np.float32) @ _weights(view.hu.shape[1], width, 3).T
    grey = np.clip((hu - LEVEL_HU) / WINDOW_HU + 0.5, 0, 1)[..., None]
    overlay = _overlay(view.labels, height, width, structures or labels.structures())
    # Air has the colour of the picture's background, so that panels have no frames.
    background = np.array(BACKGROUND, np.float32)
    image = (background + (1 - background) * grey) * (1 - overlay[..., 3:]) + overlay[..., :3]
    return np.asarray(np.clip(image, 0, 1))


def write_picture(segmentation: Segmentation, volume: Volume, rows: Sequence[Measurement], path: Path) -> None:
    """Draw everything and write it as PNG to `path`.

    Raises:
        ImportError: without matplotlib.
    """
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels, width, height = layout(choose_views(segmentation, volume))
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    page = _Page(figure, width, height, fonts_for(segmentation.name))
    _draw_header(page, segmentation)
    for panel in panels:
        _draw_panel(page, panel, segmentation.structures)
    _draw_legend(page, rows, segmentation.structures, width - MARGIN - LEGEND_WIDTH)
    _draw_footer(page, volume)
    with warnings.catch_warnings():
        # A letter of a case's name that no font here has is drawn as a box; no one needs a warning on the terminal.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.print_png(path, metadata={"Software": f"flareseg {__version__}"}, pil_kwargs={"compress_level": 4})


@dataclass(frozen=True)
class _Page:
    """The figure, addressed in pixels from its upper left corner."""

    figure: Figure
    width: int
    height: int
    fonts: list[str]

    def text(self, x: float, y: float, text: str, size_px: float, colour: str, **options: Any) -> None:
        defaults: dict[str, Any] = {"ha": "left", "va": "baseline", "family": self.fonts, "parse_math": False}
        size = size_px * 72 / DPI
        self.figure.text(x / self.width, 1 - y / self.height, text, size=size, color=colour, **(defaults | options))

    def image(self, pixels: NDArray[Any], left: int, top: int) -> None:
        values = np.round(pixels * 255).astype(np.uint8)
        self.figure.figimage(values, left, self.height - top - pixels.shape[0], origin="upper")

    def line(self, xs: Sequence[float], ys: Sequence[float], colour: Any, width_px: float) -> None:
        from matplotlib.lines import Line2D

        line = Line2D(
            [x / self.width for x in xs],
            [1 - y / self.height for y in ys],
            color=colour,
            linewidth=width_px * 72 / DPI,
            solid_capstyle="butt",
            transform=self.figure.transFigure,
        )
        self.figure.add_artist(line)

    def box(self, left: float, top: float, width: float, height: float, colour: Any, edge: Any) -> None:
        from matplotlib.patches import FancyBboxPatch

        radius = 3 / self.width
        patch = FancyBboxPatch(
            (left / self.width, 1 - (top + height) / self.height),
            width / self.width,
            height / self.height,
            boxstyle=f"round,pad=0,rounding_size={radius}",
            mutation_aspect=self.width / self.height,
            facecolor=colour,
            edgecolor=edge,
            linewidth=1.0,
            transform=self.figure.transFigure,
        )
        self.figure.add_artist(patch)


def _draw_header(page: _Page, segmentation: Segmentation) -> None:
    found = len(segmentation.present())
    page.text(MARGIN, 74, shortened(segmentation.name, 60), 40, BRIGHT, weight="bold")
    parts = [f"{found} of {len(segmentation.structures)} structures found"]
    if segmentation.model:
        parts.insert(0, f"Model {shortened(segmentation.model, 40)}")
    page.text(MARGIN, 112, "   ·   ".join(parts), 22, DIM)


def _draw_panel(page: _Page, panel: Panel, structures: Sequence[Structure]) -> None:
    view, left, top = panel.view, panel.left, panel.top
    right, bottom = left + panel.width, top + panel.height
    page.image(draw(view, panel.width, panel.height, structures), left, top)
    title = view.plane.capitalize() + (f" {panel.number}" if panel.number else "")
    cell = MARGIN + (left - MARGIN) // (CELL_WIDTH + GAP) * (CELL_WIDTH + GAP)
    page.text(cell, top - 12, title, 20, PLAIN, weight="bold")
    page.text(cell + CELL_WIDTH, top - 12, view.position, 18, DIM, ha="right")
    middle = (left + right) / 2, (top + bottom) / 2
    places: list[tuple[float, float, str, str]] = [
        (left + 8, middle[1], "left", "center"),
        (right - 8, middle[1], "right", "center"),
    ]
    if panel.height > LEAST_HEIGHT_FOR_LETTERS:
        places += [(middle[0], top + 8, "center", "top"), (middle[0], bottom - 8, "center", "bottom")]
    for letter, (x, y, ha, va) in zip(view.letters, places, strict=False):
        page.text(x, y, letter, 19, PLAIN, ha=ha, va=va, path_effects=_halo())
    for number, row in enumerate(view.levels if panel.height > LEAST_HEIGHT_FOR_LETTERS else (), 1):
        y = top + (row + 0.5) / view.hu.shape[0] * panel.height
        page.line((right + 2, right + 9), (y, y), DIM, 1.5)
        page.text(right + 13, y, str(number), 14, DIM, va="center_baseline")
    if panel.number == 1 or (view.plane == "coronal" and panel.height > LEAST_HEIGHT_FOR_LETTERS):
        length = SCALE_BAR_MM * panel.px_per_mm
        if length < panel.width / 2:
            page.line((right - 12 - length, right - 12), (bottom - 14, bottom - 14), PLAIN, 3)
            page.text(right - 12 - length / 2, bottom - 22, "5 cm", 15, PLAIN, ha="center", path_effects=_halo())


def _draw_legend(page: _Page, rows: Sequence[Measurement], structures: Sequence[Structure], left: int) -> None:
    known = {structure.name: structure for structure in structures}
    top = HEADER + CAPTION
    right = left + LEGEND_WIDTH
    page.text(right - 110, top - 12, "Volume, ml", 18, DIM, ha="right")
    page.text(right, top - 12, "Mean HU", 18, DIM, ha="right")
    y = top + 20
    listed = [row for row in rows if row.lesion is None]
    room = (page.height - FOOTER - y) // LEGEND_ROW - 1
    if len(listed) > room:  # the model has many structures
        listed = [row for row in listed if row.voxels]
    for row in listed[:room]:
        structure = known[row.structure]
        colour = tuple(channel / 255 for channel in structure.colour)
        found = row.voxels > 0
        page.box(left, y - 12, 24, 24, (*colour, 0.6 if found else 0.0), colour if found else FAINT)
        page.text(left + 42, y, structure.title, 21, BRIGHT if found else FAINT, va="center_baseline")
        if found:
            volume = f"{'≥ ' if row.touches_border else ''}{_litres(row.volume_ml)}"
            page.text(right - 110, y, volume, 21, BRIGHT, ha="right", va="center_baseline")
            page.text(right, y, f"{round(row.mean_hu or 0)}", 21, PLAIN, ha="right", va="center_baseline")
        else:
            page.text(right, y, "not found", 18, FAINT, ha="right", va="center_baseline")
        y += LEGEND_ROW
    if len(listed) > room:
        page.text(left + 42, y, f"and {len(listed) - room} more", 18, DIM, va="center_baseline")
    if any(row.touches_border for row in rows):
        page.text(left, y + 16, "≥  reaches the edge of the scan", 17, DIM)


def _draw_footer(page: _Page, volume: Volume) -> None:
    geometry = volume.geometry
    y = page.height - 38
    page.text(MARGIN, y, DISCLAIMER, 19, PLAIN)
    size = " × ".join(str(n) for n in geometry.shape_zyx[::-1])
    spacing = " × ".join(f"{mm:.2f}" for mm in geometry.spacing_zyx_mm[::-1])
    parts = [f"{size} voxels of {spacing} mm", f"window {WINDOW_HU:.0f}, level {LEVEL_HU:.0f} HU"]
    parts.append(f"flareseg {__version__}")
    tilt = obliquity_degrees(geometry)
    if tilt > OBLIQUE_DEGREES:
        parts.insert(0, f"slices tilted by up to {tilt:.0f}°, as scanned")
    page.text(page.width - MARGIN, y, "   ·   ".join(parts), 17, DIM, ha="right")


def _litres(volume_ml: float) -> str:
    return f"{volume_ml:,.0f}" if volume_ml >= 100 else f"{volume_ml:.1f}"


def _overlay(
    values: NDArray[np.uint8], height: int, width: int, structures: Sequence[Structure]
) -> NDArray[np.float32]:
    """(height, width, 4) colour of the labels times their opacity, and the opacity."""
    fine = _resized_labels(values, (height * OVERSAMPLING, width * OVERSAMPLING))
    table = np.zeros((2, 256, 4), np.float32)  # inside, outline
    for structure in structures:
        colour = np.array([*structure.colour, 255]) / 255
        table[:, structure.value] = colour * OPACITY, colour
    pixels = table[_outline(fine).astype(np.uint8), fine]
    corners = [pixels[i::OVERSAMPLING, j::OVERSAMPLING] for i in range(OVERSAMPLING) for j in range(OVERSAMPLING)]
    return np.asarray(sum(corners[1:], corners[0]) / len(corners))


def _resized_labels(values: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth outlines instead of stairs: each label is interpolated, and the strongest wins."""
    result = np.zeros(shape, np.uint8)
    strongest = np.full(shape, 0.5, np.float32)
    weights = [_weights(old, new, 1) for old, new in zip(values.shape, shape, strict=True)]
    for value in np.unique(values[values > 0]):
        mask = values == value
        parts, used = [], []
        for axis, weight in enumerate(weights):
            indices = np.flatnonzero(mask.any(axis=1 - axis))
            source = slice(indices[0], indices[-1] + 1)
            reached = np.flatnonzero(weight[:, source].any(axis=1))
            used.append(slice(reached[0], reached[-1] + 1))
            parts.append((source, weight[used[axis], source]))
        (rows, by_row), (columns, by_column) = parts
        target = used[0], used[1]
        share = by_row @ mask[rows, columns].astype(np.float32) @ by_column.T
        wins = share >= strongest[target]
        result[target][wins], strongest[target][wins] = value, share[wins]
    return result


@cache
def _weights(old: int, new: int, order: int) -> NDArray[np.float32]:
    """(new, old) how much each old pixel along an axis counts for each new one, in a spline interpolation.

    The outer edges, not the centres, of the first and last pixel stay where they are.
    """
    from scipy.ndimage import zoom

    return np.asarray(zoom(np.eye(old, dtype=np.float32), (new / old, 1), order=order, mode="nearest", grid_mode=True))


def _outline(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The inner edge of every structure."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * round(OUTLINE_PX * OVERSAMPLING) + 1
    edge: NDArray[np.bool_] = (values > 0) & (maximum_filter(values, size) != minimum_filter(values, size))
    return edge


def _halo() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground=BACKGROUND)]


def fonts_for(text: str) -> list[str]:
    """matplotlib's own font, which is everywhere the same; for a name in other scripts, one that has its letters."""
    fonts = ["DejaVu Sans"]
    if all(ord(character) < 0x600 for character in text):
        return fonts
    from matplotlib import font_manager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    known = {font.name for font in font_manager.fontManager.ttflist}
    candidates = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC", "Arial Unicode MS")
    return fonts + [name for name in candidates if name in known]
