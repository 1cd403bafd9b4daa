"""Which pixels of a DICOM slice are no measurement: where the scanner had nothing to show (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.io.calibration import HIGHEST_HU
from flareseg.io.dicom.rescale import Rescale
from flareseg.io.dicom.values import UnclearValueError, numbers

BODY_FROM_HU = -1000
"""Up to here padding is like the air that it becomes."""


def padding_of(data: Any, stored: NDArray[Any], rescale: Rescale) -> tuple[NDArray[np.bool_] | None, bool]:
    """The padding pixels of a slice, and whether a pixel of the body may have the same value.

    Such a value, as writers state that know of none, is padding only around the field of view: where it fills the
    corners of the image, and what is connected with them.

    Args:
        data: the data set of the slice.
        stored: (rows, columns), as stored.
        rescale: how these become HU.

    Returns:
        (rows, columns), or None where the header states no padding; and False where no body has its value.
    """
    limits = _limits(data, stored.dtype)
    if limits is None:
        return None, False
    found: NDArray[np.bool_] = (stored >= limits[0]) & (stored <= limits[1])
    low, high = sorted(float(rescale.hu(np.array([[limit]], stored.dtype))[0, 0]) for limit in limits)
    if high <= BODY_FROM_HU or low > HIGHEST_HU:
        return found, False
    return _around(found), True


def _limits(data: Any, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """The lowest and the highest stored value that is padding."""
    try:
        first = numbers(data, "PixelPaddingValue")
        last = numbers(data, "PixelPaddingRangeLimit")
    except UnclearValueError:
        return None
    if len(first) != 1 or len(last) > 1:
        return None
    low, high = sorted(_as_stored(int(value), dtype) for value in (*first, *(last or first)))
    return low, high


def _as_stored(number: int, dtype: np.dtype[Any]) -> int:
    """A padding value in the sign of the pixels; writers often give it the other value representation."""
    info = np.iinfo(dtype)
    span = 1 << info.bits
    if number > info.max:
        return number - span
    return number + span if number < info.min else number


def _around(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of the pixels found, those that are connected with a corner of the image; none unless all corners are among
    them."""
    corners = [(y, x) for y in (0, -1) for x in (0, -1)]
    if not all(found[corner] for corner in corners):
        return np.zeros_like(found)
    from scipy.ndimage import label  # slow to load, and hardly any CT needs it

    parts, _ = label(found)
    around: NDArray[np.bool_] = np.isin(parts, [parts[corner] for corner in corners])
    return around
