"""Small islands that no organ has are removed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flareseg.model.plan import ComponentRule
from flareseg.volume import box_of

SLICES = 8


def remove_small_components(
    labels: NDArray[np.uint8], voxel_ml: float, rules: dict[int, ComponentRule]
) -> NDArray[np.uint8]:
    """Apply each structure's rule to its 26-connected components.

    Args:
        labels: (z, y, x), changed in place.
        voxel_ml: volume of a voxel.
        rules: by label value; structures without a rule stay as they are.

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
    slabs = [slice(start, start + SLICES) for start in range(0, len(part), SLICES)]
    for slab in slabs:
        # Only labelled voxels count, and slab by slab they stay in the cache.
        own = part[slab] != 0
        numbers = components[slab][own]
        voxels += np.bincount(numbers, minlength=count + 1)
        value[numbers] = part[slab][own]
    keep = np.ones(count + 1, bool)
    for structure, rule in rules.items():
        own = np.flatnonzero(value == structure)
        if rule.largest_only and len(own):
            keep[own] = False
            keep[own[voxels[own].argmax()]] = True
        keep[own[voxels[own] * voxel_ml < rule.minimum_ml]] = False
    if not keep.all():
        for slab in slabs:
            own = part[slab] != 0
            part[slab][own] *= keep[components[slab][own]]
    return labels
