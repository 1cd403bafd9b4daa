"""Score tables: the paper's tables 5 to 8 for one run, its ablation table for several."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flareseg.errors import InputError
from flareseg.io.atomic import atomic_path
from flareseg.labels import TUMOUR, structures
from flareseg.text import safe_row
from train.reporting.lesions import lesion_table
from train.reporting.unseen import kind_table, structure_table, unseen_rows

Row = dict[str, Any]
COLUMNS = ("model", "case", "structure", "dsc", "nsd", "reference_ml", "scan")
THE_PAPER = ("The paper, FLARE23 test set, not these cases", "92.17", "95.44", "54.99", "42.45")


def write_tables(rows: Sequence[Row], costs: Sequence[Row], lesions: Sequence[Row], folder: Path) -> None:
    """Write scores.csv with all figures and scores.md with the summary."""
    with (
        atomic_path(folder / "scores.csv", overwrite=True) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(safe_row(row | {"scan": "; ".join(row.get("scan", ()))}) for row in rows)
    lines = ["# Scores", "", "DSC and NSD in per cent by FLARE's rules, mean ± standard deviation over cases.", ""]
    if unseen := unseen_rows(rows):
        lines += ["## Cross-validation: every case by the fit that did not see its patient", ""]
        lines += [*markdown(structure_table(unseen)), "", *markdown(kind_table(unseen)), ""]
        lines += _lesions(unseen_rows(lesions))
    for model in dict.fromkeys(row["model"] for row in rows):
        lines += [f"## {model}", "", *_scores([row for row in rows if row["model"] == model]), ""]
        lines += _lesions([case for case in lesions if case["model"] == model])
    lines += [
        "## Time and memory",
        "",
        "Read to labels, as FLARE measures them (table 8 of the paper).",
        "",
        *_costs(costs),
    ]
    with atomic_path(folder / "scores.md", overwrite=True) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def ablation(runs: Sequence[Path]) -> str:
    """Compare the scores of several runs as Markdown: one row per run, organs and tumour as in the paper's ablation.

    Args:
        runs: folders of runs in which `evaluate` has run.

    Raises:
        InputError: when a run has no scores.
    """
    table: list[tuple[str, ...]] = [("run", "organs DSC", "organs NSD", "tumour DSC", "tumour NSD", "cases")]
    for run in runs:
        try:
            about = json.loads((run / "scores" / "run.json").read_text(encoding="utf-8"))
            rows = json.loads((run / "scores" / "scores.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise InputError(f"'{run}' has no scores; run its stage 'evaluate' first.") from None
        mine = [row for row in rows if row["model"] == about["model"]]
        values = (_mean(_group(mine, tumour), what) for tumour in (False, True) for what in ("dsc", "nsd"))
        cases = str(len({row["case"] for row in mine}))
        table.append((f"{_title(about['ablation'])} ({run})", *values, cases))
    table.append((*THE_PAPER, "-"))
    return "\n".join(markdown(table))


def _title(switches: dict[str, bool]) -> str:
    parts = [
        text for key, text in (("label_fusion", "+ label fusion"), ("pretraining", "+ pre-training")) if switches[key]
    ]
    title, alone = " ".join(parts) or "baseline", switches.get("labelled_only")  # older runs do not say
    if parts:
        return f"{title}, labelled images only" if alone else title
    return f"{title} + unlabelled images" if alone is False else title


def _scores(rows: Sequence[Row]) -> list[str]:
    table = [("structure", "DSC", "NSD", "cases")]
    for structure in structures():
        mine = [row for row in rows if row["structure"] == structure.name]
        if mine:
            table.append((structure.title, _spread(mine, "dsc"), _spread(mine, "nsd"), str(len(mine))))
    for title, tumour in (("**Organs**", False), ("**Tumour**", True)):
        mine = _group(rows, tumour)
        if mine:
            table.append((title, _mean(mine, "dsc"), _mean(mine, "nsd"), str(len({row["case"] for row in mine}))))
    return markdown(table)


def _lesions(cases: Sequence[Row]) -> list[str]:
    if not cases:
        return []
    return [f"Lesions of {len(cases)} cases:", "", *markdown([("lesions", "found"), *lesion_table(cases)]), ""]


def _costs(costs: Sequence[Row]) -> list[str]:
    table = [("model", "case", "size", "seconds", "GPU MiB", "GPU MiB s", "CPU % s", "device")]
    for cost in costs:
        z, y, x = cost["shape_zyx"]
        numbers = (f"{cost[key]:g}" for key in ("seconds", "peak_gpu_mib", "area_gpu_mib_s", "area_cpu_percent_s"))
        table.append((cost["model"], cost["case"], f"{x}×{y}×{z}", *numbers, cost["device"]))
    return markdown(table)


def _group(rows: Iterable[Row], tumour: bool) -> list[Row]:
    """The rows of the tumour, or those of the organs that FLARE averages."""
    names = {TUMOUR} if tumour else {structure.name for structure in structures() if structure.flare_organ}
    return [row for row in rows if row["structure"] in names]


def _mean(rows: Sequence[Row], what: str) -> str:
    """Mean over structures of their means over cases: every structure has the same weight."""
    names = dict.fromkeys(row["structure"] for row in rows)
    means = [np.mean([row[what] for row in rows if row["structure"] == name]) for name in names]
    return f"{100 * float(np.mean(means)):.2f}" if means else "-"


def _spread(rows: Sequence[Row], what: str) -> str:
    values = 100 * np.array([row[what] for row in rows])
    return f"{values.mean():.1f} ± {values.std():.1f}"


def markdown(table: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return [lines[0], "|" + "---|" * len(table[0]), *lines[1:]]
