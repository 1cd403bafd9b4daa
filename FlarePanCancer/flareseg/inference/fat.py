"""Fat that was drawn as part of an organ that holds none: in a kidney's sinus, around a spleen.

On a grid of 3 mm such a border is drawn roughly. The CT itself tells the two apart: fat has about -100 HU, water 0.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Box, Index, Triple, box_of

FAT_HU = -50.0
"""Below it, a voxel holds more fat than water."""
MEAN_OVER_MM = 2.5
"""Calms the noise of thin slices, and is narrower than an adrenal gland's limb."""
MOST_VOXELS = 5
RANGE_HU = (-200, 200)
"""Gas or calcium nearby shall not outweigh all else; and the sums fit int16."""


def remove_fat(
    labels: NDArray[np.uint8], hu: NDArray[Any], spacing_zyx_mm: Triple, values: Collection[int]
) -> NDArray[np.uint8]:
    """Make background of what is fat, or gas, in the mean over some 2.5 mm.

    Args:
        labels: (z, y, x), changed in place.
        hu: (z, y, x), the CT on the same grid.
        spacing_zyx_mm: of both.
        values: labels of the structures that hold no fat.

    Returns:
        `labels`.
    """
    belongs = np.zeros(256, bool)
    belongs[list(values)] = True
    reach = _reach(spacing_zyx_mm)
    limit = FAT_HU * np.prod([2 * voxels + 1 for voxels in reach])
    for z in range(len(labels)):
        found = box_of(labels[z : z + 1])
        if found:
            where = (slice(z, z + 1), found[1], found[2])
            part = labels[where]
            part[belongs[part] & (_sums(hu, where, reach) < limit)] = 0
    return labels


def _reach(spacing_zyx_mm: Triple) -> Index:
    """How many voxels the mean reaches to either side."""
    z, y, x = (min(int(MEAN_OVER_MM / mm / 2), MOST_VOXELS // 2) for mm in spacing_zyx_mm)
    return z, y, x


def _sums(hu: NDArray[Any], box: Box, reach: Index) -> NDArray[np.int16]:
    """Sums of HU around each voxel of `box`; at the CT's end its last voxels count again."""
    sides = list(zip(box, reach, hu.shape, strict=True))
    there = tuple(slice(max(part.start - n, 0), min(part.stop + n, size)) for part, n, size in sides)
    beyond = [
        (near.start - (part.start - n), part.stop + n - near.stop)
        for near, (part, n, _) in zip(there, sides, strict=True)
    ]
    sums = np.pad(np.clip(hu[there], *RANGE_HU).astype(np.int16, copy=False), beyond, mode="edge")
    for axis, n in enumerate(reach):
        size = sums.shape[axis] - 2 * n
        views = [sums[(slice(None),) * axis + (slice(first, first + size),)] for first in range(2 * n + 1)]
        sums = sum(views[1:], start=views[0])
    return sums
