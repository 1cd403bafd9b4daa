"""What a CT and a patch cost outside the networks, as Testing/benchmarks/training_costs.py measures it.

Every figure of a case is a straight line over its size, through the two sizes that were measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flareseg.errors import InputError
from flareseg.volume import Triple

MEASURED = Path(__file__).parents[2] / "Testing" / "benchmarks" / "results" / "training_costs.json"
"""The results in this checkout; `make benchmark-training-costs` measures them anew."""
STAGES = frozenset({"prepare", "pseudolabel", "fuse", "evaluate"})
"""Those that go through all cases."""


@dataclass(frozen=True)
class StageRates:
    """Lines over the slices of a CT: (at none, for each one more).

    Attributes:
        cpu_s: seconds of one core a case.
        read_mb, written_mb: a case.
        peak_gib: resident memory of the process.
        grids: spacings (z, y, x) in mm of the grids that the stage works on, besides the CT's own.
    """

    cpu_s: tuple[float, float]
    read_mb: tuple[float, float]
    written_mb: tuple[float, float]
    peak_gib: tuple[float, float]
    grids: tuple[Triple, ...]


@dataclass(frozen=True)
class PatchRates:
    """Of a patch of so many voxels: CPU seconds to read and to augment it, MB that reading it takes from the disk."""

    voxels: int
    read_cpu_s: float
    augment_cpu_s: float
    read_mb: float
    unlabelled: bool


@dataclass(frozen=True)
class Rates:
    """All that was measured.

    Attributes:
        spacing_zyx_mm: of the CT that was measured, 512×512 a slice.
        body_mm: extent (y, x) in mm of the body in it.
        body_share: part of its voxels in the box of the body.
        stages, patches: by name of stage, and of fit.
    """

    spacing_zyx_mm: Triple
    body_mm: tuple[float, float]
    body_share: float
    stages: dict[str, StageRates]
    patches: dict[str, PatchRates]

    def grid_voxels(self, grid_mm: Iterable[Triple], slice_mm: float) -> float:
        """Voxels on these grids for each voxel of a CT as stored, with slices so far apart."""
        stored = slice_mm * self.spacing_zyx_mm[1] * self.spacing_zyx_mm[2]
        return sum(self.body_share * stored / math.prod(mm) for mm in grid_mm)

    def more_work(self, stage: str, grid_mm: Iterable[Triple], slice_mm: float) -> float:
        """How much more voxels a stage handles with other grids, or other slices, than when it was measured."""
        measured = 1 + self.grid_voxels(self.stages[stage].grids, self.spacing_zyx_mm[0])
        return (1 + self.grid_voxels(grid_mm, slice_mm)) / measured

    def patch(self, voxels: int, *, unlabelled: bool) -> PatchRates:
        """The rates of a patch, in proportion to its voxels, from the measured one of its kind that is nearest."""
        alike = [rates for rates in self.patches.values() if rates.unlabelled == unlabelled]
        nearest = min(alike or self.patches.values(), key=lambda rates: abs(math.log(rates.voxels / voxels)))
        share = voxels / nearest.voxels
        seconds = nearest.read_cpu_s * share, nearest.augment_cpu_s * share
        return PatchRates(voxels, *seconds, nearest.read_mb * share, unlabelled)


def read_rates(path: Path = MEASURED) -> Rates:
    """The rates in a file of results.

    Raises:
        InputError: when it is missing or none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["rates"]
        _check_finite(found)
        first, last = found["slices"]
        stages = {name: _stage(rows, first, last) for name, rows in found["stages"].items()}
        patches = {name: PatchRates(**one) for name, one in found["patches"].items()}
        if not stages.keys() >= STAGES or min(one.voxels for one in patches.values()) <= 0:
            raise ValueError
        return Rates(
            spacing_zyx_mm=_triple(found["spacing_zyx_mm"]),
            body_mm=(float(found["body_mm"][0]), float(found["body_mm"][1])),
            body_share=float(found["body_share"]),
            stages=stages,
            patches=patches,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ZeroDivisionError):
        raise InputError(
            f"'{path}' is missing, or no result of Testing/benchmarks/training_costs.py; measure with `make "
            "benchmark-training-costs`, or name another with --measured."
        ) from None


def at(line: tuple[float, float], slices: float) -> float:
    """The value of a line; none is negative."""
    return max(0.0, line[0] + line[1] * slices)


def _stage(rows: dict[str, Any], first: float, last: float) -> StageRates:
    lines = {
        name: _line(float(rows[name][0]), float(rows[name][1]), first, last)
        for name in ("cpu_s", "read_mb", "written_mb", "peak_gib")
    }
    return StageRates(**lines, grids=tuple(_triple(mm) for mm in rows["grids"]))


def _line(low: float, high: float, first: float, last: float) -> tuple[float, float]:
    slope = (high - low) / (last - first)
    return low - slope * first, slope


def _triple(values: Any) -> Triple:
    z, y, x = (float(value) for value in values)
    if min(z, y, x) <= 0:
        raise ValueError
    return z, y, x


def _check_finite(value: Any) -> None:
    """That no number within is infinite or none."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_finite(part)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError
