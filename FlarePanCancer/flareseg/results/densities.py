"""The HU of a structure as how many voxels have each: every statistic of them is quick from there, and exact."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Densities:
    """At least one voxel.

    Attributes:
        hu: (n,) float64, the values that occur, ascending.
        voxels: (n,) int64, how many voxels have each.
    """

    hu: NDArray[np.float64]
    voxels: NDArray[np.int64]

    @classmethod
    def of(cls, hu: NDArray[Any]) -> Densities | None:
        """Of the values of voxels, int16 or float, in any shape; what is no number (NaN, infinite) does not count.
        None where nothing is left."""
        if hu.dtype != np.int16:
            values, counts = np.unique(hu[np.isfinite(hu)], return_counts=True)
            return cls(values.astype(np.float64), counts.astype(np.int64)) if len(values) else None
        if hu.size == 0:
            return None
        low = int(hu.min())
        counts = np.bincount(hu.ravel().astype(np.int32) - low)
        used = np.flatnonzero(counts)
        return cls((used + low).astype(np.float64), counts[used].astype(np.int64))

    @cached_property
    def count(self) -> int:
        return int(self.voxels.sum())

    @cached_property
    def mean(self) -> float:
        return self.average(self.hu)

    @cached_property
    def variance(self) -> float:
        """Of all voxels, not an estimate from a sample."""
        return self.average((self.hu - self.mean) ** 2)

    def average(self, of_each: NDArray[np.float64]) -> float:
        """The mean over voxels of what is given for each value (n,)."""
        return float(of_each @ self.voxels / self.count)

    def percentile(self, per_cent: float) -> float:
        """Interpolated linearly between voxels in their order, as numpy's default."""
        place = per_cent / 100 * (self.count - 1)
        below = int(place)
        low, high = self.hu[np.searchsorted(self._up_to, [below, min(below + 1, self.count - 1)], side="right")]
        return float(low + (high - low) * (place - below))

    def between(self, low: float, high: float) -> Densities:
        """Those from `low` to `high`, both included; at least one must be."""
        kept = (self.hu >= low) & (self.hu <= high)
        return Densities(self.hu[kept], self.voxels[kept])

    @cached_property
    def _up_to(self) -> NDArray[np.int64]:
        return np.cumsum(self.voxels)
