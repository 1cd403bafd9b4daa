"""docs/learning_curve.png: organ DSC on CTs of unseen patients over how many other real patients taught the model, and
over the width of its net.

    python docs/learning_curve.py

The figures are those of the tables in docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

# real patients -> organ mean DSC in per cent; one patient is 0.2.0's recipe, none and two are 0.3.0's
CURVES = {
    "expert atlas, arterial": {0: 65.1, 1: 70.4, 2: 73.8},
    "3 mm abdomen, plain": {0: 64.7, 1: 68.8, 2: 74.5},
    "chest and upper abdomen": {0: 60.1, 2: 72.7},
    "40 mm slab": {0: 43.7, 1: 60.2, 2: 63.6},
}
WIDTHS = {
    "expert atlas": {8: 7.7, 16: 36.1, 24: 47.8},
    "four phantoms": {8: 7.3, 16: 39.3, 24: 45.3},
}
RAISED = (-4, 4, -13, -3)
"""Points by which a name is raised, so that none lies on another."""
COLOURS = ("#3465a4", "#ce5c00", "#4e9a06", "#75507b")
TARGET = 72.0


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6), width_ratios=(3, 2), layout="constrained")
    draw(left, CURVES, COLOURS, RAISED)
    left.set(xticks=[0, 1, 2], xlim=(-0.1, 3.1), ylim=(40, 80))
    left.set(xlabel="real patients that taught the model, beside phantoms", title="organ DSC of an unseen patient, %")
    left.axhline(TARGET, color="#888a85", linestyle=":", linewidth=1)
    left.annotate("target", (0, TARGET), textcoords="offset points", xytext=(-2, 3), color="#888a85", fontsize=9)
    draw(right, WIDTHS, (COLOURS[0], "#888a85"), (4, -10))
    right.set(xticks=[8, 16, 24], xlim=(6, 32), ylim=(0, 60))
    right.set(xlabel="filters of the finest level", title="… after 800 steps from random weights, %")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)


def draw(ax: Axes, curves: dict[str, dict[int, float]], colours: Sequence[str], raised: Sequence[int]) -> None:
    for (name, curve), colour, up in zip(curves.items(), colours, raised, strict=True):
        ax.plot(list(curve), list(curve.values()), "o-", color=colour)
        end = max(curve)
        ax.annotate(name, (end, curve[end]), textcoords="offset points", xytext=(8, up), color=colour, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
