"""docs/self_training.png: what each part of the winner's recipe brings on phantoms, from what
Testing/benchmarks/self_training.py wrote.

    python docs/self_training.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

RESULT = Path(__file__).parents[1] / "Testing" / "benchmarks" / "results" / "self_training.json"
BLUE, GREEN, GREY, RED = "#3465a4", "#4e9a06", "#babdb6", "#cc0000"


def main() -> None:
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), width_ratios=(3, 2), layout="constrained")
    draw_scores(left, [row for row in found["scores"] if "structure" in row])
    draw_labels(right, found["labels"])
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)


def draw_scores(ax: Axes, rows: list[dict[str, Any]]) -> None:
    """One point a seed, and the mean of all."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    for place, arm in enumerate(arms):
        mine = [row for row in rows if row["arm"] == arm]
        each = [organ_mean([row for row in mine if row["seed"] == seed]) for seed in sorted({r["seed"] for r in mine})]
        ax.plot(np.mean(each), place, "|", color=BLUE, markersize=18, markeredgewidth=2)
        ax.plot(each, [place] * len(each), "o", color=BLUE, markersize=5, alpha=0.6)
    ax.set_yticks(range(len(arms)), arms)
    ax.invert_yaxis()
    ax.grid(axis="x", color=GREY, alpha=0.5)
    ax.set(xlabel="organs, DSC in %: seeds (dots) and mean (bar)")
    ax.spines[["top", "right"]].set_visible(False)


def draw_labels(ax: Axes, rows: list[dict[str, Any]]) -> None:
    """Shares of right, unknown and wrong voxels, mean over phantoms and seeds."""
    kinds = list(dict.fromkeys(row["labels"] for row in rows))
    begin = np.zeros(len(kinds))
    for key, colour in (("right", GREEN), ("unknown", GREY), ("wrong", RED)):
        shares = np.array([100 * np.mean([row[key] for row in rows if row["labels"] == kind]) for kind in kinds])
        ax.barh(range(len(kinds)), shares, left=begin, color=colour, height=0.62, label=key)
        begin += shares
    ax.set_yticks(range(len(kinds)), kinds)
    ax.invert_yaxis()
    ax.set(xlabel="pseudo-labels, % of voxels", xlim=(0, 100))
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.3, 1.0), frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def organ_mean(rows: list[dict[str, Any]]) -> float:
    """Mean over organs, in per cent."""
    return 100 * float(np.mean([row["dsc"] for row in rows]))


if __name__ == "__main__":
    main()
