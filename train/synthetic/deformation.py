"""Smooth, invertible deformations that turn one patient into another with a different shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.volume import Index, Triple
from train.synthetic.body.shapes import turned

_NODE_MM = 8.0
"""Spacing of the grid on which the displacement field is computed; the field itself is much smoother."""
_STEPS = 5
"""Scaling and squaring: the velocity field is scaled by 2**-5, then composed with itself five times."""

_LARGEST_LOSS = 0.15
"""Maximum fraction of a slice that maps outside the source grid; slices above it are cropped at both ends."""


@dataclass(frozen=True)
class Deformation:
    """A deformation as a sampling grid: the source position of each voxel.

    Attributes:
        shape_zyx: of the deformed image; its spacing is that of the source.
        source: float32 (3, z, y, x), fractional voxel indices (z, y, x) into the source image.
    """

    shape_zyx: Index
    source: NDArray[np.float32]

    def of_image(self, image_zyx: NDArray[Any], outside: float) -> NDArray[np.float32]:
        """Deform an image by linear interpolation.

        Padding is `outside` in-plane; along z the first and last slices are repeated.
        """
        image = np.asarray(image_zyx, np.float32)
        source = self.source.copy()
        np.clip(source[0], 0, image.shape[0] - 1, out=source[0])
        return ndimage.map_coordinates(image, source, order=1, mode="grid-constant", cval=outside, prefilter=False)

    def of_labels(self, labels_zyx: NDArray[Any], outside: int) -> NDArray[Any]:
        """Deform labels by nearest-neighbour interpolation, padded with `outside`."""
        return ndimage.map_coordinates(
            labels_zyx, self.source, order=0, mode="grid-constant", cval=outside, prefilter=False
        )


def draw_deformation(
    shape_zyx: tuple[int, ...], spacing_zyx_mm: Triple, rng: np.random.Generator, *, strength: float = 1.0
) -> Deformation:
    """Draw a random scaling, a slight rotation, and a smooth displacement of up to about 2 cm.

    Args:
        shape_zyx, spacing_zyx_mm: of the source image.
        rng: source of randomness.
        strength: 0 is the identity; above 1 is anatomically implausible.

    Returns:
        A deformation without folding: the integral of a stationary velocity field.
    """
    spacing = np.asarray(spacing_zyx_mm)
    grow = np.exp(strength * (rng.normal(0, 0.08) + rng.normal(0, 0.05, 3)))
    turn = turned(*(strength * rng.normal(0, (3, 3, 5))))[::-1, ::-1]  # rows and columns in (z, y, x)
    shape = tuple(max(round(n * g), 1) for n, g in zip(shape_zyx, grow, strict=True))
    flow = _flow(np.array(shape) * spacing, rng, strength)
    source = np.empty((3, *shape), np.float32)
    at = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    moved = [_zoomed(part, shape, spacing) for part in flow]
    for k in range(3):
        z, y, x = (np.float32(turn[k, j] / grow[j]) for j in range(3))
        own = np.float32(1 / spacing[k])
        axis = at[0][:, None, None] * z + at[1][:, None] * y + at[2] * x
        source[k] = (axis + moved[k]) * own + np.float32((shape_zyx[k] - 1) / 2)
    seen = ((source[0] >= 0) & (source[0] <= shape_zyx[0] - 1)).mean(axis=(1, 2)) > 1 - _LARGEST_LOSS
    kept = np.flatnonzero(seen) if seen.any() else np.arange(len(source[0]))
    source = np.ascontiguousarray(source[:, kept[0] : kept[-1] + 1])
    return Deformation((source.shape[1], source.shape[2], source.shape[3]), source)


def _flow(size_mm: NDArray[np.float64], rng: np.random.Generator, strength: float) -> NDArray[np.float32]:
    """Displacement field (3, Z, Y, X) in mm on a coarse grid: the integral of smooth noise at two scales."""
    coarse = tuple(int(n) for n in np.ceil(size_mm / _NODE_MM).astype(int) + 2)
    velocity = np.zeros((3, *coarse), np.float32)
    for wave_mm, reach_mm in ((55.0, rng.uniform(4, 9)), (22.0, rng.uniform(0.8, 2.2))):
        for part in velocity:
            noise = rng.standard_normal(coarse, dtype=np.float32)
            noise = ndimage.gaussian_filter(noise, wave_mm / _NODE_MM, mode="reflect", truncate=3)
            part += strength * reach_mm * noise / max(float(noise.std()), 1e-6)
    displacement = velocity / (2**_STEPS * _NODE_MM)  # in nodes
    nodes = np.indices(coarse, np.float32)
    for _ in range(_STEPS):
        place = nodes + displacement
        displacement = displacement + np.stack(
            [ndimage.map_coordinates(part, place, order=1, mode="nearest") for part in displacement]
        )
    return displacement * np.float32(_NODE_MM)


def _zoomed(part: NDArray[np.float32], shape: tuple[int, ...], spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Upsample a coarse field to the fine grid, linearly along each axis."""
    for axis, (n, mm) in enumerate(zip(shape, spacing, strict=True)):
        at = np.arange(n) * mm / _NODE_MM
        low = np.minimum(at.astype(int), part.shape[axis] - 2)
        share = (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        part = part.take(low, axis) * (1 - share) + part.take(low + 1, axis) * share
    return part
