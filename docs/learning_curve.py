"""docs/learning_curve.png: organ DSC on CTs of unseen patients over how many other real patients taught the model.

    python docs/learning_curve.py

The figures are those of the table in docs/experiments.md.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# real patients -> organ mean DSC in per cent; one patient is 0.2.0's recipe, none and two are 0.3.0's
CURVES = {
    "expert atlas, arterial": {0: 65.1, 1: 70.4, 2: 73.8},
    "3 mm abdomen, plain": {0: 64.7, 1: 68.8, 2: 74.5},
    "chest and upper abdomen": {0: 60.1, 2: 72.7},
    "40 mm slab": {0: 43.7, 1: 60.2, 2: 63.6},
}
RAISED = (-4, 4, -13, -3)
"""Points by which a name is raised, so that none lies on another."""
COLOURS = ("#3465a4", "#ce5c00", "#4e9a06", "#75507b")
TARGET = 72.0


def main() -> None:
    figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (name, curve), colour, raised in zip(CURVES.items(), COLOURS, RAISED, strict=True):
        ax.plot(list(curve), list(curve.values()), "o-", color=colour)
        ax.annotate(name, (2, curve[2]), textcoords="offset points", xytext=(8, raised), color=colour, fontsize=9)
    ax.axhline(TARGET, color="#888a85", linestyle=":", linewidth=1)
    ax.annotate("target", (0, TARGET), textcoords="offset points", xytext=(-2, 3), color="#888a85", fontsize=9)
    ax.set(xticks=[0, 1, 2], xlim=(-0.1, 3.0), ylim=(40, 80))
    ax.set(xlabel="real patients that taught the model, beside phantoms", title="organ DSC of an unseen patient, %")
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
