"""Where a slice lies in the patient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.io.dicom.values import UnclearValueError, numbers, whole
from flareseg.volume import Triple

SPACING_TOLERANCE = 1e-3
"""Relative difference of pixel spacings that are the same."""
COSINE_TOLERANCE = 1e-3
"""Headers of one scan round them differently. Like the tolerance of spacings, it moves the far end of a row by less
than a pixel."""
LARGEST_POSITION_MM = 1e5
SPACING_LIMITS_MM = (1e-3, 1e3)
MOST_ROWS = 16384
ROUNDED = 0.01
"""Headers round cosines: lengths and right angles are off by up to this."""


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
    def of(cls, header: Any, position: Any, orientation: Any, measures: Any) -> Place:
        """From the data sets that hold size, position, orientation and pixel spacing: one header, or parts of one.

        Raises:
            UnclearValueError: where one of them is missing or makes no sense; the message says which.
        """
        x, y, z = _several(position, "ImagePositionPatient", 3)
        cosines = _several(orientation, "ImageOrientationPatient", 6)
        between_rows, between_columns = _several(measures, "PixelSpacing", 2)
        columns, rows = whole(header, "Columns"), whole(header, "Rows")
        if columns is None or rows is None or not (1 <= columns <= MOST_ROWS and 1 <= rows <= MOST_ROWS):
            raise UnclearValueError(f"{columns} x {rows} pixels")
        if max(abs(x), abs(y), abs(z)) > LARGEST_POSITION_MM:
            raise UnclearValueError(f"ImagePositionPatient is {x:g}, {y:g}, {z:g} mm")
        low, high = SPACING_LIMITS_MM
        if not (low <= between_rows <= high and low <= between_columns <= high):
            raise UnclearValueError(f"PixelSpacing is {between_rows:g}, {between_columns:g} mm")
        row, column = _perpendicular(cosines[:3], cosines[3:])
        return cls((x, y, z), row, column, (between_columns, between_rows), columns, rows)

    def kind(self) -> tuple[Any, ...]:
        """All but the position."""
        return self.columns, self.rows, self.spacing_xy_mm, self.row, self.column

    def difference(self, other: Place) -> str:
        """In what the slice is unlike `other`, its position apart; "" where they make one stack."""
        if (self.columns, self.rows) != (other.columns, other.rows):
            return f"{self.columns} x {self.rows} pixels"
        if any(
            abs(mine - theirs) > SPACING_TOLERANCE * theirs
            for mine, theirs in zip(self.spacing_xy_mm, other.spacing_xy_mm, strict=True)
        ):
            return f"pixels of {self.spacing_xy_mm[0]:g} x {self.spacing_xy_mm[1]:g} mm"
        mine, theirs = (*self.row, *self.column), (*other.row, *other.column)
        if any(abs(a - b) > COSINE_TOLERANCE for a, b in zip(mine, theirs, strict=True)):
            return "another orientation"
        return ""

    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.row, self.column)


def _several(header: Any, keyword: str, count: int) -> list[float]:
    found = numbers(header, keyword) if header is not None else []
    if not found:
        raise UnclearValueError(f"no {keyword}")
    if len(found) != count:
        raise UnclearValueError(f"{keyword} has {len(found)} values, not {count}")
    return found


def _perpendicular(row: list[float], column: list[float]) -> tuple[Triple, Triple]:
    """Unit vectors at right angles, of which headers give a few digits."""
    long, wide = math.sqrt(sum(a * a for a in row)), math.sqrt(sum(a * a for a in column))
    across = sum(a * b for a, b in zip(row, column, strict=True))
    if max(abs(long - 1), abs(wide - 1), abs(across)) > ROUNDED:
        raise UnclearValueError("ImageOrientationPatient has no two perpendicular directions")
    along = [a / long for a in row]
    across = sum(a * b for a, b in zip(along, column, strict=True))
    down = [b - across * a for a, b in zip(along, column, strict=True)]
    wide = math.sqrt(sum(a * a for a in down))
    return (along[0], along[1], along[2]), (down[0] / wide, down[1] / wide, down[2] / wide)
