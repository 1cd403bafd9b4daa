"""From single slices with their places in the patient to one upright volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.volume import Geometry, Triple, as_rows

SAME_PLACE_MM = 0.01
GAP = 1.5
"""Slices farther apart than this many usual distances have others missing between them."""
EVEN_SHARE = 0.02
"""Distances within this share of the usual one are even."""
MOST_OFF_SHARE = 0.5
LARGEST_TILT_DEGREES = 45.0
NEGLIGIBLE_SHIFT_PIXELS = 0.2


@dataclass(frozen=True)
class Place:
    """Where a slice lies.

    Attributes:
        position_xyz_mm: LPS of the centre of its first pixel.
        row, column: LPS unit vectors along which the column and the row index grow.
        spacing_xy_mm: distance of neighbouring columns, of neighbouring rows.
        columns, rows: number of pixels.
    """

    position_xyz_mm: Triple
    row: Triple
    column: Triple
    spacing_xy_mm: tuple[float, float]
    columns: int
    rows: int

    @classmethod
    def of(cls, header: Any) -> Place | None:
        """From a DICOM header; None where it does not say, or nothing sensible."""
        try:
            x, y, z = (float(number) for number in header.ImagePositionPatient)
            cosines = np.array([float(number) for number in header.ImageOrientationPatient]).reshape(2, 3)
            between_rows, between_columns = (float(number) for number in header.PixelSpacing)
            columns, rows = int(header.Columns), int(header.Rows)
        except (AttributeError, TypeError, ValueError):
            return None
        lengths = np.linalg.norm(cosines, axis=1)
        sound = np.isfinite([x, y, z, between_rows, between_columns, *cosines.ravel()]).all()
        if not sound or np.abs(lengths - 1).max() > 0.01 or abs(cosines[0] @ cosines[1]) > 0.01:
            return None
        row = cosines[0] / lengths[0]
        column = cosines[1] - (cosines[1] @ row) * row  # headers round to a few digits
        column /= np.linalg.norm(column)
        (a, b, c), (d, e, f) = row.tolist(), column.tolist()
        return cls((x, y, z), (a, b, c), (d, e, f), (between_columns, between_rows), columns, rows)

    def kind(self) -> tuple[Any, ...]:
        """What slices of one stack share."""
        cosines = tuple(round(number, 2) + 0.0 for number in (*self.row, *self.column))
        return self.columns, self.rows, *(round(mm, 3) for mm in self.spacing_xy_mm), cosines

    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.row, self.column)

    def depth_mm(self) -> float:
        """Position along the normal of the slice."""
        return float(np.dot(self.position_xyz_mm, self.normal()))


def upright(
    folder: Path, slices: Sequence[tuple[Place, Path]], hu_of: Callable[[Path], NDArray[np.int16]], air_hu: int
) -> tuple[NDArray[np.int16], Geometry, tuple[str, ...]]:
    """Stack slices, shifting each in its plane where the gantry was tilted (linear interpolation).

    Args:
        folder: for messages.
        slices: at least two of one kind, by ascending depth.
        hu_of: reads the pixels of a file.
        air_hu: for what no slice covers.

    Returns:
        (z, y, x) HU, their grid, and notes.

    Raises:
        InputError: for slices at the same place, missing slices, or places that make no stack.
    """
    first = slices[0][0]
    distance_mm, notes = _distance(folder, slices)
    dx, dy = first.spacing_xy_mm
    positions = np.array([place.position_xyz_mm for place, _ in slices])
    # How far each slice lies aside of the first one, in pixels along x and y.
    aside = (positions - positions[0]) @ np.array([first.row, first.column]).T / (dx, dy)
    if np.abs(aside).max() < NEGLIGIBLE_SHIFT_PIXELS:
        aside = np.zeros_like(aside)
    else:
        notes += (_tilt(folder, aside * (dx, dy), distance_mm),)
    low = aside.min(axis=0)
    more_x, more_y = (int(n) for n in np.ceil(np.round(aside.max(axis=0) - low, 6)))
    shape = (len(slices), first.rows + more_y, first.columns + more_x)
    hu = np.full(shape, air_hu, np.int16) if aside.any() else np.empty(shape, np.int16)
    for target, (_, file), shift in zip(hu, slices, aside - low, strict=True):
        pixels = hu_of(file)
        if pixels.shape != (first.rows, first.columns):
            raise InputError(f"'{file}' does not have the {first.columns} x {first.rows} pixels its header promises.")
        if aside.any():
            _place(target, pixels, shift[0], shift[1])
        else:
            target[...] = pixels
    origin = positions[0] + low[0] * dx * np.array(first.row) + low[1] * dy * np.array(first.column)
    geometry = Geometry(
        shape_zyx=shape,
        spacing_zyx_mm=(distance_mm, dy, dx),
        origin_xyz_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=as_rows(np.column_stack([first.row, first.column, first.normal()])),
    )
    return hu, geometry, notes


def _distance(folder: Path, slices: Sequence[tuple[Place, Path]]) -> tuple[float, tuple[str, ...]]:
    """The distance of neighbouring slices in mm, and a note where they are not quite even."""
    normal = slices[0][0].normal()
    depths = np.array([np.dot(place.position_xyz_mm, normal) for place, _ in slices])
    steps = np.diff(depths)
    usual = float(np.median(steps))
    for step, (_, before), (_, after) in zip(steps, slices, slices[1:], strict=False):
        if step < SAME_PLACE_MM:
            raise InputError(
                f"'{folder}' has two slices at the same place ('{before.name}' and '{after.name}'): several phases or "
                "reconstructions in one series; keep one of them in a folder of its own."
            )
    worst = int(np.argmax(steps))
    if steps[worst] > GAP * usual:
        raise InputError(
            f"'{folder}' lacks slices: {steps[worst]:.2f} mm between '{slices[worst][1].name}' and "
            f"'{slices[worst + 1][1].name}', {usual:.2f} mm elsewhere; export the series again."
        )
    mean = float(steps.mean())  # keeps both ends of the stack in place
    off_mm = float(np.abs(depths - depths[0] - mean * np.arange(len(depths))).max())
    if off_mm > MOST_OFF_SHARE * mean:
        raise InputError(
            f"'{folder}' has uneven slice distances ({steps.min():.2f} to {steps.max():.2f} mm); "
            "resample it to even ones first."
        )
    if np.abs(steps - usual).max() <= max(EVEN_SHARE * usual, SAME_PLACE_MM):
        return mean, ()
    note = (
        f"Slice distances vary from {steps.min():.2f} to {steps.max():.2f} mm (median {usual:.2f}); they were taken as "
        f"{mean:.3f} mm throughout, which is off by up to {off_mm:.2f} mm."
    )
    return mean, (note,)


def _tilt(folder: Path, aside_mm: NDArray[np.float64], distance_mm: float) -> str:
    """The note about a stack whose slices are not straight above each other."""
    steps = np.linalg.norm(np.diff(aside_mm, axis=0), axis=1)
    if np.degrees(np.arctan2(steps.max(), distance_mm)) > LARGEST_TILT_DEGREES:
        raise InputError(
            f"'{folder}': its slices are shifted by up to {steps.max():.1f} mm against each other and make no volume."
        )
    degrees = np.degrees(np.arctan2(np.linalg.norm(aside_mm[-1]), distance_mm * (len(aside_mm) - 1)))
    return f"Gantry tilt of {degrees:.1f} degrees: slices were shifted in their planes onto an upright grid."


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
