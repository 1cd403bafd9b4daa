"""Merge the label maps of a case into one with FLARE label values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.files import read_labels
from flareseg.labels import by_name
from flareseg.volume import Geometry, Orientation
from train.data.cache import SAME_GRID_MM
from train.data.index import CLASSES, IGNORE
from train.data.layouts.found import KIDNEYS, LabelFile

LIVER, RIGHT_KIDNEY, SPLEEN, LEFT_KIDNEY = (
    by_name(name).value for name in ("liver", "right_kidney", "spleen", "left_kidney")
)
BOTH_SIDES = 0.2
"""Minimum fraction on either side for a kidney to count as crossing the midline, not just touching it."""
KIDNEYS_APART_MM = 60.0
"""Minimum distance between right and left kidney; parts of one kidney are closer together."""


def merged_labels(files: Sequence[LabelFile], geometry: Geometry) -> NDArray[np.uint8]:
    """Merge all label files of a case, later ones over earlier ones, into uint8 labels on the stored grid of the CT.

    Raises:
        InputError: when a file is damaged, has another grid than the CT, or unknown label values.
    """
    result = np.zeros(geometry.shape_zyx, np.uint8)
    for file in files:
        labels, own = read_labels(file.path)
        if not own.same_as(geometry, SAME_GRID_MM):
            raise InputError(f"The labels '{file.path}' lie on another grid than their CT.")
        mapped = _mapped(labels, file, geometry)
        np.copyto(result, mapped, where=mapped > 0)
    return result


def _mapped(labels: NDArray[np.uint8], file: LabelFile, geometry: Geometry) -> NDArray[np.uint8]:
    if file.values is None:
        strange = [int(value) for value in np.unique(labels) if CLASSES <= value < IGNORE]
        if strange:
            allowed = f"0 to {CLASSES - 1} and {IGNORE}"
            raise InputError(f"The labels '{file.path}' have the unknown value {strange[0]}; allowed are {allowed}.")
        return labels
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    for own, value in file.values.items():
        table[own] = value
    mapped = table[labels]
    return split_kidneys(mapped, geometry) if KIDNEYS in file.values.values() else mapped


def split_kidneys(labels: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Replace `KIDNEYS` by right and left kidney.

    Each connected component is assigned to one side of the midline as a whole; a horseshoe kidney, which crosses the
    midline, is split there. The midline lies halfway between the two kidneys, or else halfway between the right end of
    the liver and the left end of the spleen, or else in the centre of the image.

    Args:
        labels: (z, y, x) on the grid `geometry`, with the value `KIDNEYS`.
        geometry: any orientation.
    """
    import cc3d

    orientation = Orientation.of(geometry)
    canonical = orientation.to_canonical(labels).copy()
    parts = cc3d.connected_components(canonical == KIDNEYS, connectivity=26)
    statistics = cc3d.statistics(parts)
    sizes, boxes = statistics["voxel_counts"], statistics["bounding_boxes"]
    middle = _midline(canonical, statistics, orientation.geometry_to_canonical(geometry).spacing_zyx_mm[2])
    for number in range(1, len(sizes)):
        part = canonical[boxes[number]]
        where = parts[boxes[number]] == number
        is_right = np.arange(boxes[number][2].start, boxes[number][2].stop) < middle  # x runs to the patient's left
        share = where[..., is_right].sum() / sizes[number]
        if min(share, 1 - share) < BOTH_SIDES:
            is_right[:] = share > 0.5
        part[where & is_right] = RIGHT_KIDNEY
        part[where & ~is_right] = LEFT_KIDNEY
    return np.ascontiguousarray(orientation.from_canonical(canonical))


def _midline(canonical: NDArray[np.uint8], kidneys: dict[str, Any], mm: float) -> float:
    """Index of the midline along x, in canonical orientation."""
    sizes, xs = kidneys["voxel_counts"][1:], kidneys["centroids"][1:, 2]
    if len(sizes):
        large = xs[sizes > 0.2 * sizes.max()]
        if (large.max() - large.min()) * mm > KIDNEYS_APART_MM:
            return float(large.max() + large.min()) / 2
    columns = [np.flatnonzero((canonical == value).any(axis=(0, 1))) for value in (LIVER, SPLEEN)]
    if all(map(len, columns)):
        return float(columns[0][0] + columns[1][-1]) / 2
    return canonical.shape[2] / 2


def ignore_unannotated(labels: NDArray[np.uint8], annotated: Iterable[int]) -> NDArray[np.uint8]:
    """Set labels of structures that are not annotated in full to the ignore label."""
    table = np.full(256, IGNORE, np.uint8)
    table[[0, *annotated]] = [0, *annotated]
    return table[labels]
