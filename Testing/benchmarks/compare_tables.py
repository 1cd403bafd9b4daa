"""What the comparison shows: each program's seconds under shared names, ratios, and how far the labels agree."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import GIB, table

# What each program calls its stages, under the names that both share.
FLARESEG_STAGES = {
    "read": ("read",),
    "prepare: crop, region, resample": ("body", "region", "resample"),
    "network and blending": ("network",),
    "labels: resample logits, argmax, components": ("labels", "components"),
    "write": ("write",),
}
NNUNET_STAGES = {
    "read": ("read",),
    "prepare: crop, region, resample": ("crop and normalise", "resample image", "resample dummy label"),
    "network and blending": ("forward passes", "rest of the sliding window"),
    "labels: resample logits, argmax, components": ("resample logits", "argmax", "uncrop"),
    "write": ("write",),
}
LEAST_SECONDS = 0.005
"""Below this, a ratio of times says nothing."""


@dataclass(frozen=True)
class Column:
    """One program in one setting: seconds of a warm run per shared stage and in all, and what it wrote."""

    program: str
    stages_s: dict[str, float]
    total_s: float
    labels: np.ndarray
    measured: dict[str, Any]

    @classmethod
    def of(
        cls, program: str, measured: dict[str, Any], names: dict[str, tuple[str, ...]], labels: np.ndarray
    ) -> Column:
        """Medians of the runs after the first, or of the only one.

        Args:
            measured: the answer of one of the *_side.py scripts.
            names: its own stages under the shared names.
            labels: (z, y, x), of its last run.
        """
        runs = measured["runs"][1:] or measured["runs"]
        stages = {
            shared: statistics.median(sum(run["stages_s"].get(own, 0.0) for own in owns) for run in runs)
            for shared, owns in names.items()
        }
        total = statistics.median(run["total_s"] for run in runs)
        stages["rest"] = max(0.0, total - sum(stages.values()))
        return cls(program, stages, total, labels, measured)

    @property
    def peak_gib(self) -> float:
        return float(self.measured["peak_resident_bytes"]) / GIB


def agreement(labels: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """Share of equal voxels, and Dice per label value that is present in either."""
    size = int(max(labels.max(), reference.max())) + 1
    pairs = reference.astype(np.int16) * size + labels
    counts = np.bincount(pairs.ravel(), minlength=size * size).reshape(size, size)
    sums = counts.sum(0) + counts.sum(1)
    dice = {value: float(2 * counts[value, value] / sums[value]) for value in range(1, size) if sums[value]}
    return {"equal": float(np.trace(counts) / counts.sum()), "dice": dice}


def section(title: str, columns: list[Column]) -> str:
    """Everything about one setting, as Markdown; the first column is nnU-Net's."""
    return "\n\n".join(
        [f"## {title}", _seconds(columns), _ratios(columns), _agreements(columns), _inside_nnunet(columns[0])]
    )


def _seconds(columns: list[Column]) -> str:
    rows = [[stage, *(f"{one.stages_s[stage]:.2f}" for one in columns)] for stage in columns[0].stages_s]
    rows.append(["**total**", *(f"**{one.total_s:.2f}**" for one in columns)])
    rows.append(["peak resident memory, GiB", *(f"{one.peak_gib:.2f}" for one in columns)])
    rows.append(["process start to model loaded", *(f"{one.measured['ready_s']:.1f}" for one in columns)])
    return table(["seconds", *(one.program for one in columns)], rows)


def _ratios(columns: list[Column]) -> str:
    nnunet, *others = columns

    def times(slow: float, fast: float) -> str:
        return f"{slow / fast:.1f}" if fast >= LEAST_SECONDS else "–"

    stages = [stage for stage in nnunet.stages_s if stage != "rest"]
    rows = [[stage, *(times(nnunet.stages_s[stage], one.stages_s[stage]) for one in others)] for stage in stages]
    rows.append(["**total**", *(f"**{times(nnunet.total_s, one.total_s)}**" for one in others)])
    rows.append(["peak resident memory", *(times(nnunet.peak_gib, one.peak_gib) for one in others)])
    return table(["nnU-Net ÷ flareseg", *(one.program for one in others)], rows)


def _agreements(columns: list[Column]) -> str:
    nnunet, *others = columns
    rows = []
    for one in others:
        found = agreement(one.labels, nnunet.labels)
        dice = list(found["dice"].values()) or [1.0]
        rows.append([one.program, f"{100 * found['equal']:.3f} %", f"{statistics.mean(dice):.4f}", f"{min(dice):.4f}"])
    return table(["labels against nnU-Net's", "equal voxels", "mean Dice", "lowest Dice"], rows)


def _inside_nnunet(column: Column) -> str:
    run = column.measured["runs"][-1]
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in run["stages_s"].items())
    return f"Inside nnU-Net ({run['calls']['forward passes']} windows): {stages}."
