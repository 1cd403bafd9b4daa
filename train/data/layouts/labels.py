"""Merge the label maps of a case into one with FLARE label values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.files import read_labels
from flareseg.labels import by_name
from flareseg.volume import Geometry, Orientation
from train.common.label_values import replaced, value_counts
from train.data.cache import SAME_GRID_MM
from train.data.index import CLASSES, IGNORE
from train.data.layouts.found import LabelFile
from train.data.layouts.names import KIDNEYS, PAIRS, Pair

LIVER, RIGHT_KIDNEY, SPLEEN, LEFT_KIDNEY = (
    by_name(name).value for name in ("liver", "right_kidney", "spleen", "left_kidney")
)
BOTH_SIDES = 0.2
"""Minimum fraction on either side for an organ to count as crossing the midline, not just touching it."""
APART_MM = 60.0
"""Minimum distance between the right and the left kidney; parts of one kidney are closer together."""


class Labels(NamedTuple):
    """uint8 labels on the stored grid of a CT, and whether they were turned to it from another axis order."""

    array: NDArray[np.uint8]
    turned: bool


def labels_on(path: Path, geometry: Geometry, blank_headers: bool = False) -> Labels:
    """Read a label map with the axes of its CT. One with other axes, but the same voxels in the patient, is turned.

    Args:
        path: file.
        geometry: of the CT.
        blank_headers: where its header is a placeholder, its voxels lie as those of the CT.

    Raises:
        InputError: when the file is damaged, or has another grid than the CT.
    """
    labels, own = read_labels(path)
    if own.same_as(geometry, SAME_GRID_MM):
        return Labels(labels, False)
    if blank_headers and is_placeholder(own) and own.shape_zyx == geometry.shape_zyx:
        return Labels(labels, False)
    ours, theirs = Orientation.of(geometry), Orientation.of(own)
    if theirs.geometry_to_canonical(own).same_as(ours.geometry_to_canonical(geometry), SAME_GRID_MM):
        return Labels(np.ascontiguousarray(ours.from_canonical(theirs.to_canonical(labels))), True)
    raise InputError(f"The labels '{path}' lie on another grid than their CT{_difference(own, geometry)}.")


def is_placeholder(geometry: Geometry) -> bool:
    """Whether a header says nothing: voxels of 1 mm that begin at 0 or 1 mm and run along the patient's axes."""
    direction = np.abs(geometry.direction)
    origin = np.abs(geometry.origin_xyz_mm)
    return geometry.spacing_zyx_mm == (1.0, 1.0, 1.0) and (direction == np.eye(3)).all() and (origin <= 1).all().item()


def _difference(own: Geometry, geometry: Geometry) -> str:
    """What tells two grids apart, for a message."""
    if own.shape_zyx != geometry.shape_zyx:
        if sorted(own.shape_zyx) == sorted(geometry.shape_zyx):
            return ", with other axes than the header says"
        return f": {_product(own.shape_zyx)} voxels (z, y, x) instead of {_product(geometry.shape_zyx)}"
    if not np.allclose(own.spacing_zyx_mm, geometry.spacing_zyx_mm, rtol=0, atol=1e-3):
        return f": {_product(own.spacing_zyx_mm)} mm (z, y, x) instead of {_product(geometry.spacing_zyx_mm)}"
    if not np.allclose(own.direction, geometry.direction, rtol=0, atol=1e-3):
        return ": its header has other directions, and one of the two is wrong"
    return ": its header has another origin"


def _product(numbers: Sequence[float]) -> str:
    return "×".join(f"{number:g}" for number in numbers)


def merged_labels(files: Sequence[LabelFile], geometry: Geometry, blank_headers: bool = False) -> Labels:
    """Merge all label files of a case, later ones over earlier ones, into FLARE label values on the CT's stored grid;
    `blank_headers` as in `labels_on`.

    Raises:
        InputError: when a file is damaged, has another grid than the CT, or values that its table does not name.
    """
    result, turned = np.zeros(geometry.shape_zyx, np.uint8), False
    for file in files:
        labels, own_turned = labels_on(file.path, geometry, blank_headers)
        mapped = _mapped(labels, file, geometry)
        np.copyto(result, mapped, where=mapped > 0)
        turned |= own_turned
    return Labels(result, turned)


def check_values(labels: NDArray[np.uint8], known: Iterable[int], path: Path) -> None:
    """Check that every label is 0, `IGNORE` or one of `known`.

    Raises:
        InputError: naming the first that is not; `path` is the file.
    """
    counts = value_counts(labels)
    counts[[0, IGNORE, *known]] = 0
    strange = np.flatnonzero(counts)
    if len(strange):
        raise InputError(
            f"The labels '{path}' have the value {strange[0]}, which nobody names; known are "
            f"{', '.join(map(str, sorted(known)))} and {IGNORE} for unknown."
        )


def _mapped(labels: NDArray[np.uint8], file: LabelFile, geometry: Geometry) -> NDArray[np.uint8]:
    check_values(labels, range(1, CLASSES) if file.values is None else file.values, file.path)
    if file.values is None:
        return labels
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    for own, value in file.values.items():
        table[own] = value
    mapped = replaced(labels, table)
    for pair in PAIRS:
        if pair.value in file.values.values():
            mapped = split_sides(mapped, geometry, pair)
    return mapped


def split_sides(labels: NDArray[np.uint8], geometry: Geometry, pair: Pair) -> NDArray[np.uint8]:
    """Replace the value of `pair` by those of its right and left structure.

    Each connected component is assigned to one side of the midline as a whole; a horseshoe kidney, which crosses the
    midline, is split there. The midline lies halfway between the two kidneys, or else halfway between the right end of
    the liver and the left end of the spleen, or else in the centre of the image.

    Args:
        labels: (z, y, x) on the grid `geometry`, with the value of `pair`.
        geometry: any orientation.
        pair: the kidneys, or the adrenal glands, whose midline is that of the kidneys if these are labelled.
    """
    import cc3d

    orientation = Orientation.of(geometry)
    canonical = orientation.to_canonical(labels).copy()
    parts = cc3d.connected_components(canonical == pair.value, connectivity=26)
    statistics = cc3d.statistics(parts)
    sizes, boxes = statistics["voxel_counts"], statistics["bounding_boxes"]
    mm = orientation.geometry_to_canonical(geometry).spacing_zyx_mm[2]
    middle = _midline(canonical, statistics if pair.value == KIDNEYS else None, mm)
    for number in range(1, len(sizes)):
        part = canonical[boxes[number]]
        where = parts[boxes[number]] == number
        is_right = np.arange(boxes[number][2].start, boxes[number][2].stop) < middle  # x runs to the patient's left
        share = where[..., is_right].sum() / sizes[number]
        if min(share, 1 - share) < BOTH_SIDES:
            is_right[:] = share > 0.5
        part[where & is_right] = pair.right
        part[where & ~is_right] = pair.left
    return np.ascontiguousarray(orientation.from_canonical(canonical))


def _midline(canonical: NDArray[np.uint8], kidneys: dict[str, Any] | None, mm: float) -> float:
    """Index of the midline along x, in canonical orientation; `kidneys` are the components of kidneys without side."""
    if kidneys is None:
        xs = [np.flatnonzero((canonical == value).any(axis=(0, 1))) for value in (RIGHT_KIDNEY, LEFT_KIDNEY)]
        if all(map(len, xs)):
            return float(sum(x.mean() for x in xs)) / 2
    else:
        sizes, centres = kidneys["voxel_counts"][1:], kidneys["centroids"][1:, 2]
        if len(sizes):
            large = centres[sizes > 0.2 * sizes.max()]
            if (large.max() - large.min()) * mm > APART_MM:
                return float(large.max() + large.min()) / 2
    columns = [np.flatnonzero((canonical == value).any(axis=(0, 1))) for value in (LIVER, SPLEEN)]
    if all(map(len, columns)):
        return float(columns[0][0] + columns[1][-1]) / 2
    return canonical.shape[2] / 2


def ignore_unannotated(labels: NDArray[np.uint8], annotated: Iterable[int]) -> NDArray[np.uint8]:
    """Set labels of structures that are not annotated in full to the ignore label."""
    table = np.full(256, IGNORE, np.uint8)
    table[[0, *annotated]] = [0, *annotated]
    return replaced(labels, table)
