"""Counting and replacing the values of a label map slice by slice.

At one go, numpy makes an index of eight bytes of every voxel first: 8 GB for the largest CTs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VALUES = 256


def value_counts(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Voxels of each value, (256,)."""
    total = np.zeros(VALUES, np.int64)
    for piece in labels:
        total += np.bincount(piece.ravel(), minlength=VALUES)
    return total


def value_sums(labels: NDArray[np.uint8], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Sum of the weights of the voxels of each value, (256,)."""
    total = np.zeros(VALUES)
    for piece, weight in zip(labels, weights, strict=True):
        total += np.bincount(piece.ravel(), weight.ravel(), minlength=VALUES)
    return total


def replaced(labels: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`table[labels]`, for a table of 256 values."""
    result = np.empty(labels.shape, np.uint8)
    for old, new in zip(labels, result, strict=True):
        new[:] = table[old]
    return result
