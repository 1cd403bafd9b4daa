"""What is refused as input, and the sentence that says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.volume import Index, Triple

SPACING_LIMITS_MM = (0.05, 20.0)
MOST_VOXELS = 2**33
AIR_HU = -1024
AIR_OR_FAT_BELOW_HU = -100
SOFT_TISSUE_HU = (-150, 300)
FEWEST_VALUES = 40
# deflate cannot do better than about 1:1032, so a smaller file cannot hold what its header declares
DEFLATE_RATIO = 1040
_DATA_FILE = re.compile(rb"^(?:data file|ElementDataFile)\s*[:=]\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def check_declared_size(path: Path, declared_bytes: int) -> None:
    """Refuse a header that promises more voxels than its file can hold, before memory is taken for them.

    Raises:
        InputError: naming the file.
    """
    holder = _data_file(path)
    size = holder.stat().st_size if holder.is_file() else 0
    if declared_bytes > MOST_VOXELS * 2:
        raise InputError(f"'{path}' declares {declared_bytes / 2**30:.0f} GiB of voxels, which no CT has.")
    if declared_bytes > size * DEFLATE_RATIO:
        raise InputError(f"'{path}' is truncated: its header declares more voxels than the file holds.")


def _data_file(path: Path) -> Path:
    """The file with the voxels: the one a detached header names, else `path` itself."""
    if path.suffix.lower() not in (".nhdr", ".mhd"):
        return path
    with path.open("rb") as file:
        found = _DATA_FILE.search(file.read(2**16))
    name = found.group(1).decode("utf-8", "replace") if found else "LOCAL"
    # Lists of slices are left to the reader, which checks each file.
    return path if name.upper().startswith(("LOCAL", "LIST")) or "%" in name else path.parent / name


def check_grid(path: Path, shape_zyx: Index, spacing_zyx_mm: Triple) -> None:
    """Refuse what is no volume, and spacings that no scanner makes.

    Raises:
        InputError: naming the file.
    """
    if min(shape_zyx) < 2:
        size = " × ".join(str(n) for n in reversed(shape_zyx))
        raise InputError(f"'{path}' is {size} voxels; a volume with at least 2 voxels along every axis is needed.")
    low, high = SPACING_LIMITS_MM
    if not all(low <= mm <= high for mm in spacing_zyx_mm):
        spacing = " × ".join(f"{mm:g}" for mm in reversed(spacing_zyx_mm))
        raise InputError(f"'{path}' has a voxel spacing of {spacing} mm; {low:g} to {high:g} mm is possible for a CT.")


def as_hu(path: Path, array: NDArray[Any], force: bool) -> NDArray[np.int16] | NDArray[np.float32]:
    """Voxel values as int16 HU; float32 where they hold fractions.

    Raises:
        InputError: for NaN or infinity; with `force` these become air.
    """
    if array.dtype == np.int16:
        return array
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if not finite.all():
            if not force:
                raise InputError(f"'{path}' holds NaN or infinite values; repair it, or add --force to take them as air.")
            array = np.where(finite, array, AIR_HU)
        rounded = np.rint(array)
        # Scaled files store whole HU as fractions of about 1e-3; only real fractions are worth twice the memory.
        if np.abs(array - rounded).max() > 0.01:
            return np.clip(array, -32768, 32767).astype(np.float32)
        array = rounded
    return np.clip(array, -32768, 32767).astype(np.int16)


def check_is_ct(path: Path, hu: NDArray[Any]) -> None:
    """Refuse images whose values cannot be Hounsfield units of a body.

    Raises:
        InputError: saying what is odd.
    """
    look = hu[tuple(slice(None, None, max(1, size // 96)) for size in hu.shape)]
    low, high = float(look.min()), float(look.max())
    if low == high:
        # the sample may have missed the only other values
        low, high = float(hu.min()), float(hu.max())
    reason = None
    if low == high:
        reason = f"every voxel is {low:g}"
    elif len(np.unique(look)) < FEWEST_VALUES:
        reason = f"it has only {len(np.unique(look))} different values, like a label map"
    elif low > AIR_OR_FAT_BELOW_HU:
        reason = f"its lowest value is {low:g}, so it has neither air nor fat in Hounsfield units (MR, or shifted?)"
    elif not ((look > SOFT_TISSUE_HU[0]) & (look < SOFT_TISSUE_HU[1])).mean() > 0.01:
        reason = f"hardly a voxel lies between {SOFT_TISSUE_HU[0]} and {SOFT_TISSUE_HU[1]} HU, where soft tissue is"
    if reason:
        raise InputError(f"'{path}' does not look like a CT: {reason}; add --force if it is one.")
