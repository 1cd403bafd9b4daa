"""What is refused as input, and the sentence that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.calibration import oddity
from flareseg.volume import Index, Triple

SPACING_LIMITS_MM = (0.05, 20.0)
LONGEST_MM = 3000.0
"""No patient is longer, and no scanner's table."""
MOST_VOXELS = 2**32
AIR_HU = -1024
INT16 = (-32768, 32767)
LARGEST_ROUNDING = 0.01
"""Whole HU stored as scaled or resampled floats come back this near to a whole number."""


def check_voxel_count(path: Path, shape_zyx: Index) -> None:
    """Refuse a header that promises more voxels than any CT has.

    Raises:
        InputError: naming the file.
    """
    count = shape_zyx[0] * shape_zyx[1] * shape_zyx[2]
    if count > MOST_VOXELS:
        raise InputError(
            f"'{path}' declares {count:.2g} voxels ({_times(shape_zyx)}), more than any CT has; it is damaged."
        )


def check_grid(path: Path, shape_zyx: Index, spacing_zyx_mm: Triple) -> None:
    """Refuse what is no volume, and spacings that no scanner makes.

    Raises:
        InputError: naming the file.
    """
    if min(shape_zyx) < 2:
        raise InputError(
            f"'{path}' has {_times(shape_zyx)} voxels; a volume with at least 2 along every axis is needed."
        )
    low, high = SPACING_LIMITS_MM
    if not all(low <= mm <= high for mm in spacing_zyx_mm):
        raise InputError(
            f"'{path}' has a voxel spacing of {_times(spacing_zyx_mm)} mm; a CT has {low:g} to {high:g} mm, "
            "so correct its header first."
        )
    if max(extent := [size * mm for size, mm in zip(shape_zyx, spacing_zyx_mm, strict=True)]) > LONGEST_MM:
        raise InputError(
            f"'{path}' would be {max(extent) / 1000:.3g} m long by its voxel spacing of {_times(spacing_zyx_mm)} mm; "
            "correct its header first."
        )


def as_hu(
    path: Path, stored: NDArray[Any], slope: float = 1.0, intercept: float = 0.0, *, force: bool = False
) -> NDArray[np.int16] | NDArray[np.float32]:
    """Stored (z, y, x) values times `slope` plus `intercept`, as int16 HU; as float32 where these are no whole numbers.

    Works slice by slice, so that no second array of the stored type is needed; whole int16 data are returned as is.

    Raises:
        InputError: for NaN or infinity; with `force` these become air.
    """
    plain = slope == 1 and intercept == 0
    if plain and stored.dtype == np.int16:
        return stored

    # single precision tells whole HU from fractions well enough, in half the time
    precision = np.float32 if plain and stored.dtype == np.float32 else np.float64

    def values(z: int) -> NDArray[Any]:
        piece: NDArray[Any] = stored[z].astype(precision)
        return piece if plain else piece * slope + intercept

    whole = True
    if not (plain and stored.dtype.kind in "iu"):
        for z in range(len(stored)):
            piece = values(z)
            if not np.isfinite(piece).all():
                if not force:
                    raise InputError(
                        f"'{path}' holds NaN or infinite values; repair it, or use --force to read them as air."
                    )
                piece[~np.isfinite(piece)] = AIR_HU
            if whole and np.abs(piece - np.rint(piece)).max() > LARGEST_ROUNDING:
                whole = False
    hu = np.empty(stored.shape, np.int16 if whole else np.float32)
    for z in range(len(stored)):
        piece = values(z)
        piece[~np.isfinite(piece)] = AIR_HU
        hu[z] = np.clip(np.rint(piece), *INT16) if whole else np.clip(piece, *INT16)
    return hu


def check_is_ct(path: Path, hu: NDArray[Any]) -> None:
    """Refuse images whose values cannot be the Hounsfield units of a body.

    Raises:
        InputError: saying what is odd, and how to go on nevertheless.
    """
    # Every 8th voxel or so of a large volume tells as much as all of them, in a hundredth of the time.
    look = np.ascontiguousarray(hu[tuple(slice(None, None, max(1, size // 64)) for size in hu.shape)])
    reason = oddity(look)
    if reason and look.size < hu.size:
        reason = oddity(hu)
    if reason:
        raise InputError(f"'{path}' does not look like a CT: {reason}; use --force if it is one.")


def _times(values_zyx: Index | Triple) -> str:
    return " x ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in reversed(values_zyx))
