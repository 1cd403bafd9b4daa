"""Report of the label fusion: a CSV per case and structure, and a Markdown summary."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flareseg.io.atomic import atomic_path
from flareseg.labels import structures
from flareseg.text import safe_row
from train.pseudolabels.fusion import COUNTS

Row = dict[str, Any]
COLUMNS = ("case", "structure", *(f"{what}_{unit}" for unit in ("voxels", "ml") for what in COUNTS))
INTRODUCTION = """# What the fusion changed

Sums over all training cases in ml. Truth: ground truth; pseudo: pseudo-labels; fused: labels for the final network.
Compared with the pseudo-labels, voxels of a structure were added, removed (now background), replaced (now another
structure) or became unknown. {table} has the same figures per case.
"""


def rows_of(case: str, changes: Mapping[int, Mapping[str, int]], voxel_ml: float) -> list[Row]:
    """Rows of one case from the counts of `fusion.changes`."""
    names = {structure.value: structure.name for structure in structures()}
    return [
        {"case": case, "structure": names[value]}
        | {f"{what}_voxels": count for what, count in counts.items()}
        | {f"{what}_ml": round(count * voxel_ml, 3) for what, count in counts.items()}
        for value, counts in changes.items()
    ]


def write_report(rows: Sequence[Row], path: Path) -> None:
    """Write the CSV `path`, and beside it a .md with the sums over all cases."""
    with atomic_path(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(safe_row, rows))
    with atomic_path(path.with_suffix(".md"), overwrite=True) as partial:
        partial.write_text(_summary(rows, path.name), encoding="utf-8")


def _summary(rows: Sequence[Row], table: str) -> str:
    lines = [INTRODUCTION.format(table=table)]
    lines += [f"| structure | {' | '.join(COUNTS)} | cases changed |", "|---|" + "---:|" * (len(COUNTS) + 1)]
    for structure in structures():
        mine = [row for row in rows if row["structure"] == structure.name]
        sums = " | ".join(f"{sum(row[f'{what}_ml'] for row in mine):.1f}" for what in COUNTS)
        changed = sum(any(row[f"{what}_voxels"] for what in COUNTS[3:]) for row in mine)
        lines.append(f"| {structure.title} | {sums} | {changed} of {len(mine)} |")
    return "\n".join(lines) + "\n"
