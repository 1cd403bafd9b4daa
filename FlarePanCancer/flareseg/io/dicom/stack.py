"""From single slices with their places in the patient to one upright volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.dicom.acquisitions import SAME_PLACE_SHARE
from flareseg.io.dicom.pixels import AIR_HU
from flareseg.io.dicom.sideways import sideways_note
from flareseg.io.dicom.slices import Slice, depths_mm
from flareseg.io.validation import check_voxel_count
from flareseg.volume import Geometry, Index, as_rows

SAME_PLACE_MM = 1e-3
EVEN_MM = 0.01
GAP = 1.5
"""Slices farther apart than this many usual distances have others missing between them."""
EVEN_SHARE = 0.02
"""Distances within this share of the usual one are even."""
MOST_OFF_SHARE = 0.5
MOST_GROWTH = 4
"""An upright grid has at most this many times the voxels of its slices."""
NEGLIGIBLE_SHIFT_PIXELS = 0.2


def upright(
    path: Path, slices: Sequence[Slice], hu_of: Callable[[Slice], NDArray[np.int16]], left_out: str = ""
) -> tuple[NDArray[np.int16], Geometry, tuple[str, ...]]:
    """Stack slices, shifting each in its plane where the gantry was tilted (linear interpolation).

    Args:
        path: for messages.
        slices: at least two alike ones, by ascending depth.
        hu_of: reads the pixels of a slice.
        left_out: for messages, the slices that cannot be used, and why.

    Returns:
        (z, y, x) HU, their grid, and notes.

    Raises:
        InputError: for slices at the same place, missing slices, or places that make no stack.
    """
    first = slices[0].place
    assert first is not None
    distance_mm, notes = _distance(path, slices, left_out)
    dx, dy = first.spacing_xy_mm
    positions = np.array([slice_.place.position_xyz_mm for slice_ in slices if slice_.place])
    # How far each slice lies aside of the first one, in pixels along x and y.
    aside = (positions - positions[0]) @ np.array([first.row, first.column]).T / (dx, dy)
    if np.abs(aside).max() < NEGLIGIBLE_SHIFT_PIXELS:
        aside = np.zeros_like(aside)
    else:
        notes += (sideways_note(path, slices, aside * (dx, dy), distance_mm, NEGLIGIBLE_SHIFT_PIXELS * min(dx, dy)),)
    low = aside.min(axis=0)
    more_x, more_y = (int(n) for n in np.ceil(np.round(aside.max(axis=0) - low, 6)))
    shape = (len(slices), first.rows + more_y, first.columns + more_x)
    _check_size(path, shape, len(slices) * first.rows * first.columns)
    # The first slice is read before the memory for all is taken: a damaged header promises anything.
    order = sorted(range(len(slices)), key=lambda z: (str(slices[z].file), slices[z].frame or 0))
    pixels = hu_of(slices[order[0]])
    hu = np.full(shape, AIR_HU, np.int16) if aside.any() else np.empty(shape, np.int16)
    for z in order:
        if z != order[0]:
            pixels = hu_of(slices[z])
        if aside.any():
            _place(hu[z], pixels, *(aside[z] - low))
        else:
            hu[z] = pixels
    origin = positions[0] + low[0] * dx * np.array(first.row) + low[1] * dy * np.array(first.column)
    geometry = Geometry(
        shape_zyx=shape,
        spacing_zyx_mm=(distance_mm, dy, dx),
        origin_xyz_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=as_rows(np.column_stack([first.row, first.column, first.normal()])),
    )
    return hu, geometry, notes


def _check_size(path: Path, shape_zyx: Index, own: int) -> None:
    """Refuse an upright grid that is far larger than the slices, before it is allocated."""
    check_voxel_count(path, shape_zyx)
    if math.prod(shape_zyx) > MOST_GROWTH * own:
        raise InputError(
            f"'{path}': its slices are shifted sideways by more than their width and make no volume; "
            "check their positions."
        )


def _distance(path: Path, slices: Sequence[Slice], left_out: str) -> tuple[float, tuple[str, ...]]:
    """The distance of neighbouring slices in mm, and a note where they are not quite even."""
    depths = depths_mm(slices)
    steps = np.diff(depths)
    usual = float(np.median(steps))
    for step, before, after in zip(steps, slices, slices[1:], strict=False):
        if step <= max(SAME_PLACE_SHARE * usual, SAME_PLACE_MM):
            raise InputError(
                f"'{path}' has two slices at the same place ('{before.name}' and '{after.name}'): several phases or "
                "reconstructions in one series; keep one of them in a folder of its own."
            )
    worst = int(np.argmax(steps))
    if steps[worst] > GAP * usual:
        unusable = f"; left out were {left_out}" if left_out else ""
        raise InputError(
            f"'{path}' lacks slices: {steps[worst]:.2f} mm between '{slices[worst].name}' and "
            f"'{slices[worst + 1].name}', {usual:.2f} mm elsewhere{unusable}; export the series again."
        )
    mean = float(steps.mean())  # keeps both ends of the stack in place
    off_mm = float(np.abs(depths - depths[0] - mean * np.arange(len(depths))).max())
    if off_mm > MOST_OFF_SHARE * mean:
        raise InputError(
            f"'{path}' has uneven slice distances ({steps.min():.2f} to {steps.max():.2f} mm); "
            "resample it to even ones first."
        )
    if np.abs(steps - usual).max() <= max(EVEN_SHARE * usual, EVEN_MM):
        return mean, ()
    note = (
        f"Slice distances vary from {steps.min():.2f} to {steps.max():.2f} mm (median {usual:.2f}); they were taken as "
        f"{mean:.3f} mm throughout, which is off by up to {off_mm:.2f} mm."
    )
    return mean, (note,)


def _place(target: NDArray[np.int16], pixels: NDArray[np.int16], shift_x: float, shift_y: float) -> None:
    """Write `pixels` into `target`, moved by a shift of at least 0 pixels along x and y.

    A fractional shift mixes neighbours; pixels at the rim are mixed with themselves.
    """
    moved = pixels.astype(np.float32)
    for axis, shift in ((1, shift_x), (0, shift_y)):
        fraction = np.float32(shift - np.floor(shift))
        if fraction:
            edge = moved[:, :1] if axis else moved[:1]
            before = np.concatenate([edge, moved[:, :-1] if axis else moved[:-1]], axis=axis)
            moved = before * fraction + moved * (1 - fraction)
    x, y = int(np.floor(shift_x)), int(np.floor(shift_y))
    height, width = pixels.shape
    target[y : y + height, x : x + width] = np.rint(moved)
