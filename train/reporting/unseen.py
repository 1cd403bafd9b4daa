"""Scores of a cross-validation, by structure and by kind of scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flareseg.labels import TUMOUR, structures
from train.config import PHANTOMS
from train.reporting.scans import KINDS

Row = dict[str, Any]
WHAT = ("dsc", "nsd")


def unseen_rows(rows: Sequence[Row]) -> list[Row]:
    """Scores of cases by fits that did not see their patients, without those of phantoms."""
    return [row for row in rows if "_without_" in row["model"] and not row["case"].startswith(f"{PHANTOMS}_")]


def structure_table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Per structure the mean over cases, the lowest and the highest; in per cent."""
    table: list[tuple[str, ...]] = [("structure", "DSC", "lowest to highest", "NSD", "lowest to highest", "cases")]
    names = [structure for structure in structures() if structure.name != TUMOUR]
    for structure in names:
        mine = [row for row in rows if row["structure"] == structure.name]
        if mine:
            table.append((structure.title, *_cells([[row] for row in mine]), str(len(mine))))
    organs = [row for row in rows if row["structure"] != TUMOUR]
    if organs:
        every = [mine for one in names if (mine := [row for row in organs if row["structure"] == one.name])]
        means = [f"{np.mean([_mean(mine, what) for mine in every]):.1f}" for what in WHAT]
        cases = list(_by_case(organs))
        spread = [f"{low:.1f} to {high:.1f}" for low, high in (_range(cases, what) for what in WHAT)]
        table.append(("**Mean**", f"**{means[0]}**", spread[0], f"**{means[1]}**", spread[1], str(len(cases))))
    return table


def kind_table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Per kind of scan the mean over cases of their organs' mean, the lowest and the highest; in per cent."""
    table: list[tuple[str, ...]] = [("scans", "DSC", "lowest to highest", "NSD", "lowest to highest", "cases")]
    organs = [row for row in rows if row["structure"] != TUMOUR]
    for word in (word for words in KINDS for word in words):
        cases = list(_by_case([row for row in organs if word in row.get("scan", ())]))
        if cases:
            table.append((word, *_cells(cases), str(len(cases))))
    return table


def _by_case(rows: Sequence[Row]) -> Iterator[list[Row]]:
    for name in dict.fromkeys(row["case"] for row in rows):
        yield [row for row in rows if row["case"] == name]


def _mean(rows: Sequence[Row], what: str) -> float:
    return 100 * float(np.mean([row[what] for row in rows]))


def _range(groups: Sequence[Sequence[Row]], what: str) -> tuple[float, float]:
    values = [_mean(group, what) for group in groups]
    return min(values), max(values)


def _cells(groups: Sequence[Sequence[Row]]) -> list[str]:
    """Mean and range of the groups' means, of DSC and of NSD."""
    cells = []
    for what in WHAT:
        low, high = _range(groups, what)
        cells += [f"{np.mean([_mean(group, what) for group in groups]):.1f}", f"{low:.1f} to {high:.1f}"]
    return cells
