"""Which of the voxels that a network calls lesion are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.volume import Box

NEIGHBOURS = np.ones((3, 3, 3), bool)


def keep_lesions_at(hosts: NDArray[np.bool_], mask: NDArray[np.bool_], fewest_voxels: float) -> None:
    """Remove components (26-connected) that are small, or neither overlap with a host nor border on one.

    Args:
        hosts: (z, y, x), where the organs are that can hold the lesions.
        mask: (z, y, x), the lesions; changed in place.
        fewest_voxels: of a lesion.
    """
    import cc3d

    components, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    statistics = cc3d.statistics(components)
    for number in range(1, count + 1):
        box: Box = statistics["bounding_boxes"][number]
        around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
        own = components[around] == number
        large = statistics["voxel_counts"][number] >= fewest_voxels
        if not large or not (hosts[around] & ndimage.binary_dilation(own, NEIGHBOURS)).any():
            mask[around][own] = False
