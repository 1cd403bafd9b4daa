"""Smooth random fields and distances on a grid in mm, for `whole_body.py` and `lumen.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.volume import Triple

_DIRECTIONS = 40
_FAR_MM = 1e3


def smooth_noise(
    shape_zyx: tuple[int, ...], spacing_zyx_mm: Triple, length_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gaussian noise of unit variance, float32 (z, y, x), with a correlation length of about `length_mm`.

    It is drawn on a coarse grid and interpolated linearly, which is far faster than to filter the fine one.
    """
    node_mm = 0.6 * length_mm
    counts = [int(n * mm / node_mm) + 3 for n, mm in zip(shape_zyx, spacing_zyx_mm, strict=True)]
    field = ndimage.gaussian_filter(rng.standard_normal(counts, dtype=np.float32), 0.8, truncate=2.5)
    field /= max(float(field.std()), 1e-6)
    for axis, (n, mm) in enumerate(zip(shape_zyx, spacing_zyx_mm, strict=True)):
        at = np.arange(n) * (mm / node_mm)
        low = at.astype(int)
        share = (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        first = field.take(low, axis)
        field = first + share * (field.take(low + 1, axis) - first)
    return field


def depth_mm(mask_zyx: NDArray[np.bool_], spacing_zyx_mm: Triple) -> NDArray[np.float32]:
    """Distance of each voxel inside a mask to its surface, 0 outside; the edge of the array is a surface too."""
    depth = ndimage.distance_transform_edt(np.pad(mask_zyx, 1), spacing_zyx_mm)[1:-1, 1:-1, 1:-1]
    half = np.float32(0.5 * min(spacing_zyx_mm))
    return np.maximum(depth.astype(np.float32) - half, 0)


def near(mask_zyx: NDArray[Any], spacing_zyx_mm: Triple, reach_mm: float) -> NDArray[np.float32]:
    """1 at a mask, falling to 0 at `reach_mm` from it; computed on every other voxel, which smooth weights allow."""
    coarse = np.asarray(mask_zyx[::2, ::2, ::2], bool)
    if not coarse.any():
        return np.zeros(mask_zyx.shape, np.float32)
    distance = ndimage.distance_transform_edt(~coarse, [2 * mm for mm in spacing_zyx_mm])
    weight = np.clip(1 - distance / reach_mm, 0, 1).astype(np.float32)
    for axis, n in enumerate(mask_zyx.shape):
        weight = weight.repeat(2, axis).take(np.arange(n), axis)
    return weight


def hull_distance(mask_zyx: NDArray[np.bool_], spacing_zyx_mm: Triple, smooth_mm: float = 8.0) -> NDArray[np.float32]:
    """Distance (mm, float32 (z, y, x), negative inside) to the convex hull of a mask in each slice, smooth along z.

    Slices without any voxel of the mask are far outside.
    """
    nz, ny, nx = mask_zyx.shape
    y, x = (np.arange(n, dtype=np.float32) * np.float32(mm) for n, mm in zip((ny, nx), spacing_zyx_mm[1:], strict=True))
    any_column = np.asarray(mask_zyx.any(axis=1))  # z, x
    first = mask_zyx.argmax(axis=1) * np.float32(spacing_zyx_mm[1])
    last = (ny - 1 - mask_zyx[:, ::-1].argmax(axis=1)) * np.float32(spacing_zyx_mm[1])
    filled = np.flatnonzero(np.any(any_column, axis=1))
    distance = np.full(mask_zyx.shape, -_FAR_MM, np.float32)
    if len(filled) == 0:
        return np.full(mask_zyx.shape, _FAR_MM, np.float32)
    nearest = filled[np.abs(np.arange(nz)[:, None] - filled).argmin(axis=1)]
    window = 2 * round(smooth_mm / spacing_zyx_mm[0]) + 1
    for angle in np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False):
        dy, dx = np.float32(np.sin(angle)), np.float32(np.cos(angle))
        reach = np.where(any_column, np.maximum(first * dy, last * dy) + x * dx, -np.inf).max(axis=1)[nearest]
        reach = ndimage.gaussian_filter1d(ndimage.maximum_filter1d(reach, window), smooth_mm / spacing_zyx_mm[0])
        plane = (y[:, None] * dy + x * dx)[None] - reach.astype(np.float32)[:, None, None]
        np.maximum(distance, plane, out=distance)
    distance[np.setdiff1d(np.arange(nz), filled)] = _FAR_MM
    return distance
