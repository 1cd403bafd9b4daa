"""Resampling of label maps: linear interpolation of the mask of each label, then argmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.inference.resample import centres, nearest_indices
from flareseg.volume import Index

SLAB_VOXELS = 2**26
"""Of the result at a time; each takes 13 bytes or more while it is computed."""


def resampled_labels(labels: NDArray[np.uint8], shape_zyx: Index, nearest: int | None) -> NDArray[np.uint8]:
    """Resample labels to another grid of the same extent: the label with the largest interpolated mask wins.

    Args:
        labels: (z, y, x); 255 is treated as any other value.
        shape_zyx: of the result.
        nearest: the axis with nearest-neighbour instead of linear interpolation, or None.
    """
    if nearest is not None:
        labels = labels.take(nearest_indices(labels.shape[nearest], shape_zyx[nearest]), axis=nearest)
    if labels.shape == shape_zyx:
        return labels
    z, y, x = (linear_matrix(old, new) for old, new in zip(labels.shape, shape_zyx, strict=True))
    result = np.empty(shape_zyx, np.uint8)
    slices = max(1, SLAB_VOXELS // (shape_zyx[1] * shape_zyx[2]))
    for start in range(0, shape_zyx[0], slices):
        rows = z[start : start + slices]
        needed = np.flatnonzero(rows.any(axis=0))
        part = slice(int(needed[0]), int(needed[-1]) + 1)
        result[start : start + slices] = _resampled(labels[part], (rows[:, part], y, x))
    return result


def _resampled(labels: NDArray[np.uint8], matrices: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Labels interpolated by a matrix an axis."""
    shape = tuple(len(matrix) for matrix in matrices)
    result = np.zeros(shape, np.uint8)
    best, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    # Outside its bounding box, which is small for most structures, a mask is 0.
    for value, part in enumerate(ndimage.find_objects(labels), 1):
        if part is None:
            continue
        reached = [np.flatnonzero(matrix[:, side].any(axis=1)) for matrix, side in zip(matrices, part, strict=True)]
        if not all(map(len, reached)):
            continue
        where = tuple(slice(int(rows[0]), int(rows[-1]) + 1) for rows in reached)
        z, y, x = (matrix[rows, side] for matrix, rows, side in zip(matrices, where, part, strict=True))
        share = y @ ((labels[part] == value).astype(np.float32) @ x.T)
        share = (z @ share.reshape(len(share), -1)).reshape(best[where].shape)
        total[where] += share
        result[where][share > best[where]] = value
        np.maximum(best[where], share, out=best[where])
    result[best <= 1 - total] = 0
    return result


def linear_matrix(size_in: int, size_out: int) -> NDArray[np.float32]:
    """(size_out, size_in) matrix of linear interpolation along one axis, aligned at the outer edges of the first and
    last voxel as in `flareseg.inference.resample`; border voxels are replicated."""
    places = np.clip(centres(size_in, size_out), 0, size_in - 1)
    low = np.minimum(places.astype(np.intp), max(size_in - 2, 0))
    matrix = np.zeros((size_out, size_in), np.float32)
    rows = np.arange(size_out)
    matrix[rows, low] = 1 - (places - low)
    matrix[rows, np.minimum(low + 1, size_in - 1)] += places - low
    return matrix
