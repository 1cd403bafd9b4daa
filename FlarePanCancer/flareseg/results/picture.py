"""The report's picture: slices of the CT with the structures in their colours, and a legend with their volumes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg import __version__
from flareseg.labels import Structure
from flareseg.results.canvas import DPI, ON_SCREEN, Canvas, fonts_for, halo
from flareseg.results.measure import Measurement, in_ml
from flareseg.results.overlay import LEVEL_HU, WINDOW_HU, draw
from flareseg.results.reported import Reported
from flareseg.results.views import OBLIQUE_DEGREES, View, choose_views, obliquity_degrees
from flareseg.segmentation import Segmentation
from flareseg.system.private_imports import import_matplotlib
from flareseg.text import shortened
from flareseg.volume import Volume

DISCLAIMER = "Research use only. Not a medical device."

# Layout, in pixels.
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


@dataclass(frozen=True)
class Picture:
    """What was drawn.

    Attributes:
        pixels: (height, width, 3) uint8.
        slices: rows and columns that hold the slices with their captions, without title and legend.
        panels: where each slice lies, and its own (height, width, 3) pixels, 0 to 1.
    """

    pixels: NDArray[np.uint8]
    slices: tuple[slice, slice]
    panels: list[tuple[Panel, NDArray[np.float32]]]


def draw_picture(case: Reported) -> Picture:
    """Draw everything.

    Raises:
        ImportError: without matplotlib.
    """
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    segmentation = case.segmentation
    panels, width, height = layout(choose_views(segmentation, case.volume))
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=ON_SCREEN.background)
    agg = FigureCanvasAgg(figure)
    canvas = Canvas(figure, width, height, fonts_for(segmentation.name), ON_SCREEN)
    draw_header(canvas, segmentation)
    drawn = [(one, draw(one.view, one.width, one.height, segmentation.structures)) for one in panels]
    for panel, slice_pixels in drawn:
        draw_panel(canvas, panel, slice_pixels)
    draw_legend(canvas, case.rows, segmentation.structures, height - FOOTER)
    draw_footer(canvas, case.volume)
    with without_glyph_warnings():
        agg.draw()
    pixels = np.array(agg.buffer_rgba())[..., :3]
    bottom = max(panel.top + panel.height for panel in panels)
    right = width - LEGEND_WIDTH - LEGEND_GAP - MARGIN // 2
    return Picture(pixels, (slice(HEADER, bottom + GAP), slice(MARGIN // 2, right)), drawn)


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width, 3) pixels as a PNG."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    information = PngInfo()
    information.add_text("Software", f"flareseg {__version__}")
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "png", pnginfo=information, compress_level=4)
    return file.getvalue()


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """A letter of a case's name that no font here has is drawn as a box; no one needs a warning on the terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def draw_header(canvas: Canvas, segmentation: Segmentation) -> None:
    found = len(segmentation.present())
    canvas.text(MARGIN, 74, shortened(segmentation.name, 60), 40, canvas.palette.bright, weight="bold")
    parts = [f"{found} of {len(segmentation.structures)} structures found"]
    if segmentation.model:
        parts.insert(0, f"Model {shortened(segmentation.model, 40)}")
    canvas.text(MARGIN, 112, "   ·   ".join(parts), 22, canvas.palette.dim)


def draw_panel(canvas: Canvas, panel: Panel, pixels: NDArray[np.float32]) -> None:
    """A slice with its caption, letters and the levels of others."""
    # Letters and the bar lie on the dark slice, whatever the paper's colour.
    view, ink, left, top = panel.view, canvas.palette, panel.left, panel.top
    right, bottom = left + panel.width, top + panel.height
    canvas.image(pixels, left, top)
    title = view.plane.capitalize() + (f" {panel.number}" if panel.number else "")
    cell = MARGIN + (left - MARGIN) // (CELL_WIDTH + GAP) * (CELL_WIDTH + GAP)
    canvas.text(cell, top - 12, title, 20, ink.plain, weight="bold")
    canvas.text(cell + CELL_WIDTH, top - 12, view.position, 18, ink.dim, ha="right")
    middle = (left + right) / 2, (top + bottom) / 2
    places: list[tuple[float, float, str, str]] = [
        (left + 8, middle[1], "left", "center"),
        (right - 8, middle[1], "right", "center"),
    ]
    if panel.height > LEAST_HEIGHT_FOR_LETTERS:
        places += [(middle[0], top + 8, "center", "top"), (middle[0], bottom - 8, "center", "bottom")]
    for letter, (x, y, ha, va) in zip(view.letters, places, strict=False):
        canvas.text(x, y, letter, 19, ON_SCREEN.plain, ha=ha, va=va, path_effects=halo())
    for number, row in enumerate(view.levels if panel.height > LEAST_HEIGHT_FOR_LETTERS else (), 1):
        y = top + (row + 0.5) / view.hu.shape[0] * panel.height
        canvas.line((right + 2, right + 9), (y, y), ink.dim, 1.5)
        canvas.text(right + 13, y, str(number), 14, ink.dim, va="center_baseline")
    if panel.number == 1 or (view.plane == "coronal" and panel.height > LEAST_HEIGHT_FOR_LETTERS):
        length = SCALE_BAR_MM * panel.px_per_mm
        if length < panel.width / 2:
            canvas.line((right - 12 - length, right - 12), (bottom - 14, bottom - 14), ON_SCREEN.plain, 3)
            canvas.text(
                right - 12 - length / 2, bottom - 22, "5 cm", 15, ON_SCREEN.plain, ha="center", path_effects=halo()
            )


def draw_legend(canvas: Canvas, rows: Sequence[Measurement], structures: Sequence[Structure], bottom: int) -> float:
    """The structures with their numbers, down to `bottom` at the most; returns how far it reaches."""
    known = {structure.name: structure for structure in structures}
    ink, top, right = canvas.palette, HEADER + CAPTION, canvas.width - MARGIN
    left = right - LEGEND_WIDTH
    canvas.text(right - 110, top - 12, "Volume, ml", 18, ink.dim, ha="right")
    canvas.text(right, top - 12, "Mean HU", 18, ink.dim, ha="right")
    y = top + 20
    listed = [row for row in rows if row.lesion is None]
    room = (bottom - y) // LEGEND_ROW - 1
    if len(listed) > room:  # the model has many structures
        listed = [row for row in listed if row.voxels]
    for row in listed[:room]:
        structure = known[row.structure]
        colour = tuple(channel / 255 for channel in structure.colour)
        found = row.voxels > 0
        canvas.box(left, y - 12, 24, 24, (*colour, 0.6 if found else 0.0), ink.edge(colour) if found else ink.faint)
        canvas.text(left + 42, y, structure.title, 21, ink.bright if found else ink.faint, va="center_baseline")
        if found:
            volume = f"{'≥ ' if row.touches_border else ''}{in_ml(row.volume_ml)}"
            canvas.text(right - 110, y, volume, 21, ink.bright, ha="right", va="center_baseline")
            canvas.text(right, y, f"{round(row.mean_hu or 0)}", 21, ink.plain, ha="right", va="center_baseline")
        else:
            canvas.text(right, y, "not found", 18, ink.faint, ha="right", va="center_baseline")
        y += LEGEND_ROW
    if len(listed) > room:
        canvas.text(left + 42, y, f"and {len(listed) - room} more", 18, ink.dim, va="center_baseline")
        y += LEGEND_ROW
    if any(row.touches_border for row in rows):
        canvas.text(left, y + 16, "≥  reaches the edge of the scan", 17, ink.dim)
        y += LEGEND_ROW
    return y


def draw_footer(canvas: Canvas, volume: Volume) -> None:
    geometry = volume.geometry
    y = canvas.height - 38
    canvas.text(MARGIN, y, DISCLAIMER, 19, canvas.palette.plain)
    size = " × ".join(str(n) for n in geometry.shape_zyx[::-1])
    spacing = " × ".join(f"{mm:.2f}" for mm in geometry.spacing_zyx_mm[::-1])
    parts = [f"{size} voxels of {spacing} mm", f"window {WINDOW_HU:.0f}, level {LEVEL_HU:.0f} HU"]
    parts.append(f"flareseg {__version__}")
    tilt = obliquity_degrees(geometry)
    if tilt > OBLIQUE_DEGREES:
        parts.insert(0, f"slices tilted by up to {tilt:.0f}°, as scanned")
    canvas.text(canvas.width - MARGIN, y, "   ·   ".join(parts), 17, canvas.palette.dim, ha="right")
