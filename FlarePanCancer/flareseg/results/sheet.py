"""The report on one page of paper: A4 across, as PDF, with text that can be searched."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from flareseg import __version__
from flareseg.results.canvas import ON_PAPER, Canvas, fonts_for
from flareseg.results.measure import Measurement, in_ml, title_of
from flareseg.results.picture import (
    DISCLAIMER,
    FOOTER,
    LEGEND_WIDTH,
    MARGIN,
    Picture,
    draw_footer,
    draw_header,
    draw_legend,
    draw_panel,
    without_glyph_warnings,
)
from flareseg.results.reported import Reported
from flareseg.system.private_imports import import_matplotlib
from flareseg.text import visible

A4_INCHES = (11.69, 8.27)
LINE, LETTER = 30, 10.5
"""Height of a line and mean width of a letter, in pixels, of what stands below the slices."""
LESION_ROW = 34


def write_sheet(case: Reported, picture: Picture, path: Path) -> None:
    """Draw the page and write it as PDF to `path`.

    Raises:
        ImportError: without matplotlib.
    """
    import_matplotlib()
    segmentation, rows = case.segmentation, case.rows
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure

    height, width, _ = picture.pixels.shape
    below = max(panel.top + panel.height for panel, _ in picture.panels)
    lines = _lines(case, width - 2 * MARGIN - LEGEND_WIDTH)
    height = max(height, below + LINE * (len(lines) + 1) + FOOTER)
    # The sheet's shape: what is missing of it is left free on the right or at the bottom.
    width, height = max(width, round(height * A4_INCHES[0] / A4_INCHES[1])), height
    height = max(height, round(width * A4_INCHES[1] / A4_INCHES[0]))
    figure = Figure(figsize=A4_INCHES, dpi=width / A4_INCHES[0], facecolor=ON_PAPER.background)
    FigureCanvasPdf(figure)
    canvas = Canvas(figure, width, height, fonts_for(segmentation.name), ON_PAPER)
    draw_header(canvas, segmentation)
    for panel, pixels in picture.panels:
        draw_panel(canvas, panel, pixels)
    lesions = [row for row in rows if row.lesion is not None]
    least = min(len(lesions), 4) * LESION_ROW + (2 * LESION_ROW if lesions else 0)
    reached = draw_legend(canvas, rows, segmentation.structures, height - FOOTER - least)
    _draw_lesions(canvas, lesions, reached + LESION_ROW)
    for number, (text, colour) in enumerate(lines):
        canvas.text(MARGIN, below + LINE * (number + 2), text, 19, colour)
    draw_footer(canvas, case.volume)
    with without_glyph_warnings():
        figure.savefig(
            path,
            format="pdf",
            dpi=figure.dpi,
            facecolor=ON_PAPER.background,
            metadata={"Title": visible(segmentation.name), "Subject": DISCLAIMER, "Creator": f"flareseg {__version__}",
                      "Producer": None, "CreationDate": None},
        )  # fmt: skip


def _lines(case: Reported, width: int) -> list[tuple[str, str]]:
    """Warnings and notes in lines of at most `width` pixels, and their colours."""
    texts = [(one.text, ON_PAPER.warning) for one in case.warnings]
    texts += [(visible(note), ON_PAPER.dim) for note in case.segmentation.notes]
    most = int(width / LETTER)
    return [
        (line if number == 0 else f"   {line}", colour)
        for text, colour in texts
        for number, line in enumerate(textwrap.wrap(text, most))
    ]


def _draw_lesions(canvas: Canvas, rows: Sequence[Measurement], top: float) -> None:
    """As many lesions as there is room for."""
    if not rows:
        return
    ink, right = canvas.palette, canvas.width - MARGIN
    left = right - LEGEND_WIDTH
    canvas.text(left, top, "Lesion", 18, ink.dim)
    canvas.text(right - 110, top, "Volume, ml", 18, ink.dim, ha="right")
    canvas.text(right, top, "mm", 18, ink.dim, ha="right")
    room = int((canvas.height - FOOTER - top) // LESION_ROW) - 1
    shown = rows if len(rows) <= room else rows[: max(0, room - 1)]
    y = top
    for row in shown:
        y += LESION_ROW
        canvas.text(left, y, title_of(row).removeprefix("Lesion "), 17, ink.bright)
        canvas.text(
            right - 110, y, f"{'≥ ' if row.touches_border else ''}{in_ml(row.volume_ml)}", 19, ink.bright, ha="right"
        )
        canvas.text(right, y, f"{row.longest_mm:.0f} × {row.perpendicular_mm:.0f}", 19, ink.plain, ha="right")
    if len(shown) < len(rows):
        canvas.text(left, y + LESION_ROW, f"and {len(rows) - len(shown)} more", 18, ink.dim)
