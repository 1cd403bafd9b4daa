"""Draws the extension's icon: an abdomen in few strokes, readable at 32 pixels. Run it from the repository's root."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, PathPatch
from matplotlib.path import Path as Outline

TARGETS = ("Resources/Icons/FlarePanCancer.png", "FlarePanCancer/Resources/Icons/FlarePanCancer.png")


def icon() -> Figure:
    """128 by 128 pixels, seen as on a CT: the patient's right is on the left."""
    figure = Figure(figsize=(1.28, 1.28), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-1, 1), ylim=(-1, 1))
    axes.set_axis_off()
    axes.add_patch(Ellipse((0, 0), 1.94, 1.62, facecolor="#2b2f36", edgecolor="#9aa3ad", linewidth=2.5))
    liver = Outline(
        [(-0.78, -0.1), (-0.85, 0.5), (-0.3, 0.72), (0.3, 0.5), (0.1, 0.25), (-0.15, 0.2), (-0.3, -0.35),
         (-0.65, -0.45), (-0.78, -0.1)],
        [Outline.MOVETO, *[Outline.CURVE4] * 6, *[Outline.CURVE3] * 2],
    )  # fmt: skip
    axes.add_patch(PathPatch(liver, facecolor="#dd8265", edgecolor="none"))
    axes.add_patch(Ellipse((0.63, 0.12), 0.32, 0.62, angle=12, facecolor="#9d6ca2", edgecolor="none"))
    for x, angle in ((-0.42, -25), (0.42, 25)):
        axes.add_patch(Ellipse((x, -0.42), 0.3, 0.44, angle=angle, facecolor="#b96653", edgecolor="none"))
    axes.add_patch(Circle((0, -0.5), 0.19, facecolor="#e8e4d8", edgecolor="none"))
    axes.add_patch(Circle((0.09, -0.16), 0.1, facecolor="#e0604c", edgecolor="none"))
    axes.add_patch(Circle((-0.14, -0.16), 0.1, facecolor="#0097ce", edgecolor="none"))
    axes.add_patch(Circle((-0.48, 0.26), 0.14, facecolor="#ffe45c", edgecolor="#2b2f36", linewidth=1.5))
    return figure


if __name__ == "__main__":
    for target in TARGETS:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        icon().savefig(target, transparent=True)
