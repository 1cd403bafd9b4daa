"""The part of the scan that can hold abdominal organs, from the labels of the coarse net."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Box, Triple

SMALLEST_ISLAND_ML = 5.0
SMALLEST_ABDOMEN_ML = 30.0
MARGIN_MM = 30.0


def region_of_labels(labels: NDArray[Any], spacing_zyx_mm: Triple, scale_zyx: Triple, within: Box) -> Box | None:
    """The box of the coarse labels, with a margin, in voxels of the CT.

    Args:
        labels: (z, y, x) coarse labels of the part `within` of the CT; 0 is background.
        spacing_zyx_mm: of `labels`.
        scale_zyx: CT voxels per voxel of `labels`, per axis.
        within: the part of the CT that `labels` covers.

    Returns:
        a part of `within`; None when less than 30 ml of organs were found.
    """
    import cc3d

    voxel_ml = float(np.prod(spacing_zyx_mm)) / 1000
    islands = cc3d.connected_components(labels > 0, connectivity=26)
    statistics = cc3d.statistics(islands)
    counts = statistics["voxel_counts"][1:] * voxel_ml
    kept = np.flatnonzero(counts >= SMALLEST_ISLAND_ML)
    if counts[kept].sum() < SMALLEST_ABDOMEN_ML:
        return None
    boxes = [statistics["bounding_boxes"][1 + number] for number in kept]
    parts = []
    for axis in range(3):
        margin = MARGIN_MM / spacing_zyx_mm[axis]
        low = min(box[axis].start for box in boxes) - margin
        high = max(box[axis].stop for box in boxes) + margin
        outer = within[axis]
        start = max(outer.start, outer.start + int(np.floor(low * scale_zyx[axis])))
        stop = min(outer.stop, outer.start + int(np.ceil(high * scale_zyx[axis])))
        parts.append(slice(start, stop))
    return parts[0], parts[1], parts[2]
