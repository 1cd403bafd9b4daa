"""A slice as a picture: the CT in a window, with the structures over it in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flareseg import labels
from flareseg.labels import Structure
from flareseg.results.views import View

WINDOW_HU, LEVEL_HU = 400.0, 40.0
OPACITY = 0.45
OUTLINE_PX = 1.5
OVERSAMPLING = 2
BACKGROUND = (13 / 255, 15 / 255, 19 / 255)
MOST_SIZES = 64
"""Of slices whose weights are kept: those of a few cases, not of all cases of a long run."""


def draw(view: View, width: int, height: int, structures: Sequence[Structure] | None = None) -> NDArray[np.float32]:
    """The slice in a soft-tissue window with the labels over it, half transparent and outlined.

    Args:
        view: the slice.
        width, height: of the picture, in pixels.
        structures: whose colours the labels have; FLARE's unless given.

    Returns:
        (height, width, 3) red, green and blue, 0 to 1.
    """
    grey = grey_levels(view, width, height)[..., None]
    overlay = _overlay(view.labels, height, width, structures or labels.structures())
    # Air has the colour of the picture's background, so that panels have no frames.
    background = np.array(BACKGROUND, np.float32)
    image = (background + (1 - background) * grey) * (1 - overlay[..., 3:]) + overlay[..., :3]
    return np.asarray(np.clip(image, 0, 1))


def grey_levels(view: View, width: int, height: int) -> NDArray[np.float32]:
    """(height, width) of the slice in a soft-tissue window, 0 to 1."""
    hu = _weights(view.hu.shape[0], height, 3) @ view.hu.astype(np.float32) @ _weights(view.hu.shape[1], width, 3).T
    return np.asarray(np.clip((hu - LEVEL_HU) / WINDOW_HU + 0.5, 0, 1))


def _overlay(
    values: NDArray[np.uint8], height: int, width: int, structures: Sequence[Structure]
) -> NDArray[np.float32]:
    """(height, width, 4) colour of the labels times their opacity, and the opacity."""
    fine = resized_labels(values, (height * OVERSAMPLING, width * OVERSAMPLING))
    table = np.zeros((2, 256, 4), np.float32)  # inside, outline
    for structure in structures:
        colour = np.array([*structure.colour, 255]) / 255
        table[:, structure.value] = colour * OPACITY, colour
    pixels = table[_outline(fine).astype(np.uint8), fine]
    corners = [pixels[i::OVERSAMPLING, j::OVERSAMPLING] for i in range(OVERSAMPLING) for j in range(OVERSAMPLING)]
    return np.asarray(sum(corners[1:], corners[0]) / len(corners))


def resized_labels(values: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth outlines instead of stairs: each label is interpolated, and the strongest wins."""
    result = np.zeros(shape, np.uint8)
    strongest = np.full(shape, 0.5, np.float32)
    weights = [_weights(old, new, 1) for old, new in zip(values.shape, shape, strict=True)]
    for value in np.unique(values[values > 0]):
        mask = values == value
        parts, used = [], []
        for axis, weight in enumerate(weights):
            indices = np.flatnonzero(mask.any(axis=1 - axis))
            source = slice(indices[0], indices[-1] + 1)
            reached = np.flatnonzero(weight[:, source].any(axis=1))
            used.append(slice(reached[0], reached[-1] + 1))
            parts.append((source, weight[used[axis], source]))
        (rows, by_row), (columns, by_column) = parts
        target = used[0], used[1]
        share = by_row @ mask[rows, columns].astype(np.float32) @ by_column.T
        wins = share >= strongest[target]
        result[target][wins], strongest[target][wins] = value, share[wins]
    return result


@lru_cache(MOST_SIZES)
def _weights(old: int, new: int, order: int) -> NDArray[np.float32]:
    """(new, old) how much each old pixel along an axis counts for each new one, in a spline interpolation.

    The outer edges, not the centres, of the first and last pixel stay where they are.
    """
    from scipy.ndimage import zoom

    return np.asarray(zoom(np.eye(old, dtype=np.float32), (new / old, 1), order=order, mode="nearest", grid_mode=True))


def _outline(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The inner edge of every structure."""
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * round(OUTLINE_PX * OVERSAMPLING) + 1
    edge: NDArray[np.bool_] = (values > 0) & (maximum_filter(values, size) != minimum_filter(values, size))
    return edge
