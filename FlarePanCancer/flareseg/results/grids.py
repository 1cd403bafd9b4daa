"""Label maps on the grid of a CT, or of each other, in whichever order their files store its voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Geometry, Orientation

GRID_TOLERANCE_MM = 0.1
"""File formats round positions; a tenth of a millimetre is far below every tolerance of the NSD."""


def on_grid(labels: NDArray[np.uint8], geometry: Geometry, wanted: Geometry) -> NDArray[np.uint8] | None:
    """A (z, y, x) label map with its voxels in the order of another grid.

    Programs that turn images to their own axes, as many for research do, save them with other axes than the CT's.

    Args:
        labels: on `geometry`.
        geometry: where they lie.
        wanted: the grid to have them on.

    Returns:
        The same labels, reordered, never interpolated; None where the two grids have other voxels.
    """
    if geometry.same_as(wanted, GRID_TOLERANCE_MM):
        return labels
    own, other = Orientation.of(geometry), Orientation.of(wanted)
    if not own.geometry_to_canonical(geometry).same_as(other.geometry_to_canonical(wanted), GRID_TOLERANCE_MM):
        return None
    return np.ascontiguousarray(other.from_canonical(own.to_canonical(labels)))
