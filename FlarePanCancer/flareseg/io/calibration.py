"""Whether the values of an image can be the Hounsfield units of a body, whatever surrounds the scanned circle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LOWEST_AIR_HU, HIGHEST_AIR_HU, HIGHEST_HU = -1100, -850, 3500
"""Beyond the first and the last is no tissue: padding of any kind around the field of view, and metal."""
LEAST_OF_EDGES = 0.2
"""One value that is as frequent along the edges of the volume is what its surroundings were filled with."""
AIR_OR_FAT_BELOW_HU = -100
FAT_BELOW_HU = -50
LEAST_AIR_AND_FAT = 0.01
LUNG_BELOW_HU = -200
SOFT_TISSUE_HU = (-150, 300)
LEAST_SOFT_TISSUE = 0.01
LEAST_SOFT_OF_DENSER = 0.2
"""Of all that is not less dense than soft tissue; it was at least 0.9 in 33 CTs of chest and abdomen."""
DENSE_HU = (700, 1500)
"""Dense bone; fat and soft tissue where the rescale intercept, -1024 or -1000, is missing."""
MOST_DENSE, MOST_DENSE_WITHOUT_FAT = 0.1, 0.02
"""In the same CTs it was at most 0.008, and at least 0.2 without their intercept."""
DEEP_HU, MOST_DEEP, MOST_PADDINGS = -1500, 0.02, 3
MOST_LABELS = 40
_UNCALIBRATED = "it looks as if the rescale intercept of -1024 is missing: soft tissue lies near 1000 instead of 0"


def oddity(hu: NDArray[Any]) -> str | None:
    """Why these cannot be the Hounsfield units of a body, as the middle of a sentence; None where they can."""
    low, high = float(hu.min()), float(hu.max())
    if low == high:
        return f"every voxel is {low:g}"
    if low >= 0 and len(np.unique(hu)) <= MOST_LABELS:
        return f"it has only {len(np.unique(hu))} different values from {low:g} to {high:g}, like a label map"
    if (deep := _deep(hu)) > MOST_DEEP:
        return f"{deep:.0%} of it lie below {DEEP_HU} HU, where neither air nor soft tissue is (scaled, or shifted?)"
    padding = _padding(hu)
    within = (hu > LOWEST_AIR_HU) & (hu < HIGHEST_HU)
    if padding is not None:
        within &= hu != padding
    scanned = hu[within]
    if scanned.size < LEAST_SOFT_TISSUE * hu.size:
        return _no_soft_tissue(scanned.size / hu.size)
    return _oddity_of_scanned(scanned, padding)


def _oddity_of_scanned(hu: NDArray[Any], padding: float | None) -> str | None:
    """The same of the values within the field of view."""

    def share(low: float, high: float) -> float:
        return float(np.count_nonzero((hu >= low) & (hu < high))) / hu.size

    low, dark, dense, soft = float(hu.min()), share(-np.inf, FAT_BELOW_HU), share(*DENSE_HU), share(*SOFT_TISSUE_HU)
    # Padding of -1024 looks like air, but where all else is bone without any fat, it is none.
    limit = MOST_DENSE_WITHOUT_FAT if dark < LEAST_AIR_AND_FAT else MOST_DENSE
    uncalibrated = dense > max(limit, 2 * share(-np.inf, LUNG_BELOW_HU))
    hint = f"; {_UNCALIBRATED}" if uncalibrated else " (MR, windowed, or not calibrated?)"
    in_air = padding is not None and LOWEST_AIR_HU < padding < HIGHEST_AIR_HU
    # Where that is true air, of a body without any fat, noise makes some values negative.
    without_fat = low >= 0 and len(np.unique(hu)) > MOST_LABELS
    if without_fat if in_air else low > AIR_OR_FAT_BELOW_HU:
        around = "" if padding is None else f" apart from the {padding:g} around it"
        return f"its lowest value is {low:g}{around}, so it holds neither air nor fat in Hounsfield units{hint}"
    if dark < LEAST_AIR_AND_FAT and not in_air:  # an MR that was resampled with ringing has a few such voxels
        return f"only {dark:.1%} of it lie below {FAT_BELOW_HU} HU, where air and fat are{hint}"
    if uncalibrated:
        return _UNCALIBRATED
    if soft < LEAST_SOFT_TISSUE:
        return _no_soft_tissue(soft)
    if soft < LEAST_SOFT_OF_DENSER * share(SOFT_TISSUE_HU[0], np.inf):
        return "most of what is denser than fat is denser than soft tissue as well (scaled, or shifted?)"
    return None


def _padding(hu: NDArray[Any]) -> float | None:
    """What the surroundings of the field of view were filled with, if anything: the value along the volume's edges."""
    ends = (0, -1)
    edges = [edge for i in ends for j in ends for edge in (hu[i, j], hu[i, :, j], hu[:, i, j])]
    values, counts = np.unique(np.concatenate(edges), return_counts=True)
    return float(values[counts.argmax()]) if counts.max() >= LEAST_OF_EDGES * counts.sum() else None


def _no_soft_tissue(share: float) -> str:
    return f"only {share:.1%} of it lie between {SOFT_TISSUE_HU[0]} and {SOFT_TISSUE_HU[1]} HU, where soft tissue is"


def _deep(hu: NDArray[Any]) -> float:
    """The share of values far below air that are no padding, which has the same few values everywhere."""
    deep = hu[hu < DEEP_HU]
    if deep.size <= MOST_DEEP * hu.size:
        return 0.0
    counts = np.sort(np.unique(deep, return_counts=True)[1])
    return float(counts[:-MOST_PADDINGS].sum()) / hu.size
