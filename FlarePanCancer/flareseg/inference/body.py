"""Where the patient is in the scan: everything outside is air, table and clothes, and need not be looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Box, Triple

BODY_ABOVE_HU = -300
LOOK_EVERY_MM = 4.0
MARGIN_MM = 8.0
SMALLEST_BODY_ML = 500.0


def whole(shape_zyx: tuple[int, ...]) -> Box:
    """The box of everything."""
    z, y, x = shape_zyx
    return slice(0, z), slice(0, y), slice(0, x)


def body_box(hu: NDArray[Any], spacing_zyx_mm: Triple) -> Box | None:
    """The box around the largest connected thing that is neither air nor lung, looked for on every few voxels.

    Args:
        hu: (z, y, x) HU, canonical orientation.
        spacing_zyx_mm: of `hu`.

    Returns:
        a box that holds the whole body with a margin; the whole volume when no body of half a litre stands out; None
        when there is nothing but air.
    """
    import cc3d

    steps = [max(1, int(LOOK_EVERY_MM / mm)) for mm in spacing_zyx_mm]
    dense = hu[tuple(slice(None, None, step) for step in steps)] > BODY_ABOVE_HU
    if not dense.any():
        return None
    components = cc3d.connected_components(dense, connectivity=6)
    statistics = cc3d.statistics(components)
    counts = statistics["voxel_counts"][1:]
    voxel_ml = float(np.prod(np.multiply(steps, spacing_zyx_mm))) / 1000
    if counts.max() * voxel_ml < SMALLEST_BODY_ML:
        return whole(hu.shape)
    body = statistics["bounding_boxes"][1 + int(counts.argmax())]
    z, y, x = (
        slice(max(0, part.start * step - margin), min(size, part.stop * step + margin))
        for part, step, size, margin in zip(
            body, steps, hu.shape, (round(MARGIN_MM / mm) + 1 for mm in spacing_zyx_mm), strict=True
        )
    )
    return z, y, x
