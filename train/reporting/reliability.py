"""How far the expected DSC can be trusted: a table and a reliability plot, blind, before and after calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flareseg.expectation import CHECK_BELOW
from flareseg.io.atomic import atomic_path
from flareseg.labels import structures
from flareseg.system.private_imports import import_matplotlib
from train.calibration import BINS, Judged, calibration_error
from train.reporting.tables import markdown

Table = list[tuple[str, ...]]


def write_reliability(judged: Sequence[Judged], folder: Path) -> None:
    """Write calibration.md and calibration.png; every expectation is from a fit to the other folds."""
    tables = (reliability_table(judged), check_table(judged))
    lines = [
        "# Expected DSC",
        "",
        "Before: the net's own soft Dice. After: calibrated, for each fold on the others. The mean of the other folds",
        "is what one would expect without looking at the case. ECE: expected calibration error over ten bins.",
        "",
        *markdown(tables[0]),
        "",
        *markdown(tables[1]),
    ]
    with atomic_path(folder / "calibration.md", overwrite=True) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _plot(judged, folder / "calibration.png")


def reliability_table(judged: Sequence[Judged]) -> Table:
    """Per structure and for all: mean DSC, and by how much the expectations miss."""
    table: Table = [
        ("structure", "drawn", "mean DSC", "ECE before", "after", "mean error before", "after", "by other folds' mean")
    ]
    groups = [(one.title, [item for item in judged if item.sample.structure == one.name]) for one in structures()]
    for title, mine in [*groups, ("**All**", list(judged))]:
        if mine:
            dsc = [one.sample.dsc for one in mine]
            before, after = [one.sample.signs.agreement for one in mine], [one.expected_dsc for one in mine]
            errors = (_mean_error(values, dsc) for values in (before, after, _mean_of_other_folds(mine, judged)))
            ece = (calibration_error(values, dsc) for values in (before, after))
            cells = (float(np.mean(dsc)), *ece, *errors)
            table.append((title, str(len(mine)), *(f"{value:.3f}" for value in cells)))
    return table


def check_table(judged: Sequence[Judged]) -> Table:
    """Of the structures with a low DSC, how many were marked; and of those marked, how many had one."""
    low = np.array([one.sample.dsc < CHECK_BELOW for one in judged])
    table: Table = [(f"expected below {CHECK_BELOW:.2f}", f"of {low.sum()} so low", f"of {(~low).sum()} others")]
    for title, values in (
        ("before", [one.sample.signs.agreement for one in judged]),
        ("after", [one.expected_dsc for one in judged]),
    ):
        marked = np.array(values) < CHECK_BELOW
        table.append((title, str((marked & low).sum()), str((marked & ~low).sum())))
    return table


def _mean_error(expected: Sequence[float], dsc: Sequence[float]) -> float:
    return float(np.abs(np.subtract(expected, dsc)).mean())


def _mean_of_other_folds(mine: Sequence[Judged], judged: Sequence[Judged]) -> list[float]:
    def mean(one: Judged) -> float:
        own = one.sample
        others = [o.sample.dsc for o in judged if o.sample.structure == own.structure and o.sample.fold != own.fold]
        return float(np.mean(others)) if others else own.dsc

    return [mean(one) for one in mine]


def _plot(judged: Sequence[Judged], path: Path) -> None:
    import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 5.4), dpi=110, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    dsc = [one.sample.dsc for one in judged]
    for axes, title, values in (
        (panels[0], "the net's own soft Dice", [one.sample.signs.agreement for one in judged]),
        (panels[1], "calibrated on the other folds", [one.expected_dsc for one in judged]),
    ):
        _panel(axes, judged, values)
        axes.set_title(f"{title}\nexpected calibration error {calibration_error(values, dsc):.3f}")
    panels[0].set_ylabel("DSC of the unseen case")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", fontsize=8, frameon=False)
    with atomic_path(path, overwrite=True) as partial, partial.open("wb") as file:
        figure.savefig(file, format="png")


def _panel(axes: Any, judged: Sequence[Judged], values: Sequence[float]) -> None:
    axes.plot((0, 1), (0, 1), color="#888a85", linewidth=1)
    axes.axvline(CHECK_BELOW, color="#888a85", linestyle=":", linewidth=1)
    for structure in structures():
        mine = [number for number, one in enumerate(judged) if one.sample.structure == structure.name]
        if mine:
            colour = tuple(part / 255 for part in structure.colour)
            shown = [values[number] for number in mine], [judged[number].sample.dsc for number in mine]
            axes.scatter(*shown, color=colour, edgecolor="black", linewidth=0.4, s=20, label=structure.title)
    expected, dsc = np.array(values), np.array([one.sample.dsc for one in judged])
    number = np.minimum((expected * BINS).astype(int), BINS - 1)
    bins = [number == one for one in np.unique(number)]
    means = [expected[one].mean() for one in bins], [dsc[one].mean() for one in bins]
    axes.plot(*means, "o-", color="black", label="mean of a bin")
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), aspect="equal", xlabel="expected DSC")
    axes.spines[["top", "right"]].set_visible(False)
