"""Small islands that no organ has are removed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flareseg.model.plan import ComponentRule
from flareseg.volume import Box


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

    box = _labelled_box(labels)
    if not rules or box is None:
        return labels
    part = labels[box]
    # one pass labels the components of all structures
    components, count = cc3d.connected_components(part, connectivity=26, return_N=True)
    volume_ml = np.bincount(components.ravel(), minlength=count + 1) * voxel_ml
    value = np.zeros(count + 1, np.uint8)
    value[components.ravel()] = part.ravel()
    keep = np.ones(count + 1, bool)
    for structure, rule in rules.items():
        own = np.flatnonzero(value == structure)
        if rule.largest_only and len(own):
            keep[own] = False
            keep[own[volume_ml[own].argmax()]] = True
        keep[own[volume_ml[own] < rule.minimum_ml]] = False
    part[~keep[components]] = 0
    return labels


def _labelled_box(labels: NDArray[np.uint8]) -> Box | None:
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(labels.any(axis=others))
        if not len(used):
            return None
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return box[0], box[1], box[2]
