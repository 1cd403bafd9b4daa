"""What every kind of image header comes to, and the checks that all of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.payload import Payload
from flareseg.io.validation import check_voxel_count
from flareseg.nifti_transforms import MOST_SHEAR, NiftiForms, farthest_mm, shear_of
from flareseg.volume import Geometry, as_rows

LARGEST_MOVE_MM = 0.1
"""Axes that are not quite perpendicular are made so where no voxel moves further."""
UNSTATED = "The file does not state its orientation; its axes were taken to run to the patient's left, back and head."


@dataclass(frozen=True)
class Header:
    """A parsed header.

    Attributes:
        shape: of the array as it is stored, slowest axis first.
        layer_axis: the axis of `shape` that holds several values of one voxel, or None.
        geometry: the grid of the other three.
        payload: where the voxels are.
        slope, intercept: value = stored * slope + intercept.
        fields: key/value pairs.
        notes: what a user should know.
    """

    shape: tuple[int, ...]
    geometry: Geometry
    payload: Payload
    layer_axis: int | None = None
    slope: float = 1.0
    intercept: float = 0.0
    fields: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def volume_shape(path: Path, sizes_xyz: list[int]) -> tuple[int, int, int]:
    """(z, y, x) of an image whose axes beyond the third hold one element.

    Raises:
        InputError: when it is no volume, or larger than any CT.
    """
    if len(sizes_xyz) < 3 or any(size != 1 for size in sizes_xyz[3:]):
        shape = " x ".join(map(str, sizes_xyz))
        raise InputError(f"'{path}' has {len(sizes_xyz)} dimensions ({shape}); one 3-D volume is needed.")
    shape_zyx = (sizes_xyz[2], sizes_xyz[1], sizes_xyz[0])
    check_voxel_count(path, shape_zyx)
    return shape_zyx


def grid_of(
    path: Path,
    shape_zyx: tuple[int, int, int],
    axes: NDArray[np.float64],
    spacing_xyz_mm: NDArray[np.float64],
    origin_xyz_mm: NDArray[np.float64],
    *,
    rounding: float = MOST_SHEAR,
    nifti: NiftiForms | None = None,
) -> Geometry:
    """The grid whose axes run along the columns of a 3 by 3 matrix, which may be of any length.

    Axes that are nearly perpendicular are replaced by the nearest that are, about the middle of the volume.

    Args:
        path: for messages.
        shape_zyx, spacing_xyz_mm, origin_xyz_mm: as in `Geometry`.
        axes: their directions in LPS.
        rounding: the largest cosine between two axes that is taken for rounding, whatever it moves.
        nifti: kept with the grid.

    Raises:
        InputError: when numbers are not finite, a voxel size is 0, or axes are not perpendicular.
    """
    with np.errstate(all="ignore"):
        direction = axes / np.linalg.norm(axes, axis=0)
    if not all(np.isfinite(numbers).all() for numbers in (axes, spacing_xyz_mm, origin_xyz_mm)):
        raise InputError(f"'{path}' has a geometry with NaN or infinite numbers; correct its header first.")
    if min(spacing_xyz_mm) <= 0:
        raise InputError(f"'{path}' has a voxel spacing of zero or less; correct its header first.")
    if not np.isfinite(direction).all():
        raise InputError(f"'{path}' has axis directions that are not valid; correct its header first.")
    shear, moved_mm = shear_of(direction), 0.0
    if shear > MOST_SHEAR:
        left, _, right = np.linalg.svd(direction)
        change = np.zeros((4, 4))
        change[:3, :3] = direction * spacing_xyz_mm
        direction = left @ right
        change[:3, :3] -= direction * spacing_xyz_mm
        change[:3, 3] = change[:3, :3] @ (np.subtract(shape_zyx[::-1], 1) / -2)
        origin_xyz_mm = origin_xyz_mm - change[:3, 3]
        moved_mm = farthest_mm(change, np.zeros((4, 4)), shape_zyx)
    if shear > rounding and moved_mm > LARGEST_MOVE_MM:
        raise InputError(f"'{path}' has a sheared grid (axes that are not perpendicular); resample it first.")
    x, y, z = (float(number) for number in spacing_xyz_mm)
    left_mm, back_mm, head_mm = (float(number) for number in origin_xyz_mm)
    return Geometry(shape_zyx, (z, y, x), (left_mm, back_mm, head_mm), as_rows(direction), nifti)
