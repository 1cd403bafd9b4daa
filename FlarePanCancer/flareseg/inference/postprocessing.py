"""What no organ has is removed from its label: fat, small islands, and collections of fluid taken for a whole organ.

On a grid of 3 mm the border of a kidney's sinus, or of a spleen in fat, is drawn roughly. The CT itself tells the two
apart: fat has about -100 HU, water 0.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.inference.islands import Components, give_to_neighbours
from flareseg.model.plan import ComponentRule
from flareseg.volume import Box, Index, Triple, Volume, box_of

SLICES = 8
FAT_HU = -50.0
"""Below it, a voxel holds more fat than water."""
MEAN_OVER_MM = 2.5
"""Calms the noise of thin slices, and is narrower than an adrenal gland's limb."""
MOST_VOXELS = 5
FLUID_HU = 25.0
"""Mean of a component below which it is fluid: ascites and cysts have 0 to 20 HU, a fatty liver rarely as little."""
LEAST_OF_LARGEST = 0.25
"""Volume of an organ, as a share of that of the fluid that is taken for it."""
RANGE_HU = (-200, 200)
"""Gas or calcium nearby shall not outweigh all else; and the sums fit int16."""


def clean_labels(labels: NDArray[np.uint8], ct: Volume, rules: dict[int, ComponentRule]) -> None:
    """Apply every structure's rule, first on fat, then on components.

    Args:
        labels: (z, y, x), changed in place.
        ct: on the same grid.
        rules: by label value; structures without a rule stay as they are.
    """
    without_fat = [value for value, rule in rules.items() if rule.without_fat]
    if without_fat:
        exclude_fat(labels, ct.hu, ct.geometry.spacing_zyx_mm, without_fat)
    remove_small_components(labels, ct.geometry.spacing_zyx_mm, rules, ct.hu)


def remove_small_components(
    labels: NDArray[np.uint8], spacing_zyx_mm: Triple, rules: dict[int, ComponentRule], hu: NDArray[Any] | None = None
) -> NDArray[np.uint8]:
    """Apply each structure's rule to its 26-connected components.

    Args:
        labels: (z, y, x), changed in place.
        spacing_zyx_mm: of their voxels.
        rules: by label value; structures without a rule stay as they are.
        hu: (z, y, x), the CT on the same grid; needed where a rule is about fluid.

    Returns:
        `labels`.
    """
    import cc3d

    box = box_of(labels)
    if not rules or box is None:
        return labels
    part = labels[box]
    # one pass labels the components of all structures
    components, count = cc3d.connected_components(part, connectivity=26, return_N=True)
    voxels = np.zeros(count + 1, np.int64)
    value = np.zeros(count + 1, np.uint8)
    total_hu = np.zeros(count + 1) if hu is not None and any(rule.without_fluid for rule in rules.values()) else None
    slabs = [slice(start, start + SLICES) for start in range(0, len(part), SLICES)]
    for slab in slabs:
        # Only labelled voxels count, and slab by slab they stay in the cache.
        own = part[slab] != 0
        numbers = components[slab][own]
        voxels += np.bincount(numbers, minlength=count + 1)
        value[numbers] = part[slab][own]
        if hu is not None and total_hu is not None:
            total_hu += np.bincount(numbers, np.clip(hu[box][slab][own], *RANGE_HU), count + 1)
    found = Components(value.copy(), voxels, total_hu, np.arange(count + 1))
    kept = partial(_kept, rules=rules, voxel_ml=float(np.prod(spacing_zyx_mm)) / 1000)
    sharing = [structure for structure, rule in rules.items() if rule.to_neighbour]
    keep = give_to_neighbours(found, components, kept, sharing, spacing_zyx_mm) if sharing else kept(found)
    result = found.value * keep
    if (result != value).any():
        for slab in slabs:
            own = part[slab] != 0
            part[slab][own] = result[components[slab][own]]
    return labels


def _kept(found: Components, rules: dict[int, ComponentRule], voxel_ml: float) -> NDArray[np.bool_]:
    """Which components their structures' rules keep."""
    keep = np.ones(len(found.value), bool)
    for structure, rule in rules.items():
        own = np.flatnonzero(found.value == structure)
        if not len(own):
            continue
        voxels = found.voxels[own]
        if rule.largest_only:
            keep[own] = False
            mean_hu = found.total_hu[own] / voxels if found.total_hu is not None and rule.without_fluid else None
            keep[own[_organ_among(voxels, mean_hu)]] = True
        least = max(rule.minimum_ml / voxel_ml, rule.minimum_share * voxels.max())
        keep[own[voxels < least]] = False
    return keep


def _organ_among(voxels: NDArray[np.int64], mean_hu: NDArray[np.float64] | None) -> int:
    """Which component is the organ: the largest, or where that is fluid the largest that is not, if it is no island."""
    largest = int(voxels.argmax())
    if mean_hu is None or mean_hu[largest] >= FLUID_HU:
        return largest
    solid = (mean_hu >= FLUID_HU) & (voxels >= LEAST_OF_LARGEST * voxels[largest])
    return int((voxels * solid).argmax()) if solid.any() else largest


def keep_largest(labels: NDArray[np.uint8], voxel_ml: float, values: Collection[int], below_ml: float | None) -> None:
    """Of some structures together keep the largest 6-connected component, and those that are as large.

    Args:
        labels: (z, y, x), changed in place.
        voxel_ml: volume of a voxel.
        values: of the structures.
        below_ml: see `LargestRule`.
    """
    import cc3d

    belongs = np.zeros(256, bool)
    belongs[list(values)] = True
    box = box_of(belongs[labels])
    if box is None:
        return
    part = labels[box]
    components, count = cc3d.connected_components(belongs[part].astype(np.uint8), connectivity=6, return_N=True)
    voxels = np.bincount(components.ravel(), minlength=count + 1)
    doomed = voxels < voxels[1:].max()
    if below_ml is not None:
        doomed &= voxels * voxel_ml < below_ml
    doomed[0] = False
    part[doomed[components]] = 0


def exclude_fat(
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
    inside = tuple(slice(max(part.start - n, 0), min(part.stop + n, size)) for part, n, size in sides)
    beyond = [
        (near.start - (part.start - n), part.stop + n - near.stop)
        for near, (part, n, _) in zip(inside, sides, strict=True)
    ]
    sums = np.pad(np.clip(hu[inside], *RANGE_HU).astype(np.int16, copy=False), beyond, mode="edge")
    for axis, n in enumerate(reach):
        size = sums.shape[axis] - 2 * n
        views = [sums[(slice(None),) * axis + (slice(first, first + size),)] for first in range(2 * n + 1)]
        sums = sum(views[1:], start=views[0])
    return sums
