"""Draws the extension's icon: an abdomen in few strokes, readable at 32 pixels. Run it from the repository's root."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, PathPatch
from matplotlib.path import Path as Outline

TARGETS = ("Resources/Icons/FlarePanCancer.png", "FlarePanCancer/Resources/Icons/FlarePanCancer.png")
GROUND = "#2b2f36"


def icon() -> Figure:
    """128 by 128 pixels, seen as on a CT: the patient's right is on the left."""
    figure = Figure(figsize=(1.28, 1.28), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-1, 1), ylim=(-1, 1))
    axes.set_axis_off()
    axes.add_patch(Ellipse((0, 0), 1.94, 1.66, facecolor=GROUND, edgecolor="#9aa3ad", linewidth=2.5))
    # An edge in the colour of the ground keeps neighbours apart when the icon is small.
    organ = {"edgecolor": GROUND, "linewidth": 1.5}
    liver = Outline(
        [(-0.72, -0.28), (-0.9, 0.15), (-0.72, 0.68), (-0.15, 0.7), (0.12, 0.72), (0.34, 0.6), (0.4, 0.5),
         (0.2, 0.34), (-0.02, 0.2), (-0.16, 0.02), (-0.28, -0.12), (-0.5, -0.32), (-0.72, -0.28)],
        [Outline.MOVETO, *[Outline.CURVE4] * 12],
    )  # fmt: skip
    axes.add_patch(PathPatch(liver, facecolor="#dd8265", **organ))
    axes.add_patch(Ellipse((0.64, 0.1), 0.34, 0.66, angle=12, facecolor="#9d6ca2", **organ))
    for x, angle in ((-0.43, -25), (0.43, 25)):
        axes.add_patch(Ellipse((x, -0.45), 0.32, 0.44, angle=angle, facecolor="#b96653", **organ))
    axes.add_patch(Circle((0, -0.53), 0.2, facecolor="#e8e4d8", **organ))
    axes.add_patch(Circle((0.12, -0.18), 0.12, facecolor="#e0604c", **organ))
    axes.add_patch(Circle((-0.12, -0.18), 0.12, facecolor="#0097ce", **organ))
    axes.add_patch(Circle((-0.46, 0.26), 0.2, facecolor="#ffe45c", edgecolor=GROUND, linewidth=2))
    return figure


if __name__ == "__main__":
    for target in TARGETS:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        icon().savefig(target, transparent=True)
