"""A figure that is drawn on in pixels, from its upper left corner."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flareseg.results.overlay import BACKGROUND

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100


@dataclass(frozen=True)
class Palette:
    """Colours of what is written: of names and numbers, of what goes with them, and of what is not there."""

    background: Any
    bright: str
    plain: str
    dim: str
    faint: str
    warning: str

    def edge(self, colour: tuple[float, ...]) -> tuple[float, ...]:
        """A structure's colour as a line that can be seen on the background."""
        pale = self.background == "#ffffff" and min(colour[:3]) > 0.8
        return tuple(0.75 * channel for channel in colour) if pale else colour


ON_SCREEN = Palette(BACKGROUND, "#f4f5f7", "#c9cdd4", "#868d98", "#4d535d", "#e0b060")
ON_PAPER = Palette("#ffffff", "#111418", "#33383f", "#666d77", "#9aa0a9", "#8a5a00")


@dataclass(frozen=True)
class Canvas:
    """The figure, addressed in pixels from its upper left corner."""

    figure: Figure
    width: int
    height: int
    fonts: list[str]
    palette: Palette

    def text(self, x: float, y: float, text: str, size_px: float, colour: str, **options: Any) -> None:
        defaults: dict[str, Any] = {"ha": "left", "va": "baseline", "family": self.fonts, "parse_math": False}
        size = size_px * 72 / self.figure.dpi
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
            linewidth=width_px * 72 / self.figure.dpi,
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


def halo() -> list[Any]:
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
