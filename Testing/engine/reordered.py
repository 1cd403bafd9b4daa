"""A CT whose file has its axes in another order."""

import numpy as np

from flareseg.volume import Geometry, Volume, as_rows


def reordered(volume: Volume, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    """The same patient, with the file's axes permuted and flipped."""
    shape, spacing = volume.geometry.shape_zyx, volume.geometry.spacing_zyx_mm
    columns = np.asarray(volume.geometry.direction)[:, ::-1][:, list(axes)] * np.where(flips, -1.0, 1.0)
    start = [0, 0, 0]
    for axis, flip in zip(axes, flips, strict=True):
        start[axis] = shape[axis] - 1 if flip else 0
    geometry = Geometry(
        shape_zyx=tuple(shape[axis] for axis in axes),
        spacing_zyx_mm=tuple(spacing[axis] for axis in axes),
        origin_xyz_mm=volume.geometry.world_of(tuple(start)),
        direction=as_rows(columns[:, ::-1]),
    )
    return Volume(reordered_array(volume.hu, axes, flips), geometry, volume.name)


def reordered_array(array: np.ndarray, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)])
