"""Which slices of a segmented CT show it best, and how people look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flareseg.inference.body import body_box, whole
from flareseg.segmentation import Segmentation
from flareseg.volume import Box, Geometry, Orientation, Volume

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
"""Plane i is perpendicular to canonical axis i: z, y, x."""

AXIAL_LEVELS = 4
LEAST_GAP_MM = 20.0
MARGIN_MM = 40.0
LEAST_HEIGHT_MM = 240.0
TUMOUR_WEIGHT = 2.0
OBLIQUE_DEGREES = 3.0

_LETTERS: dict[Plane, tuple[str, str, str, str]] = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
_AXIS_LETTERS = (("I", "S"), ("A", "P"), ("R", "L"))
"""Towards lower and higher LPS coordinates, along z, y, x."""


@dataclass(frozen=True)
class View:
    """One slice as radiologists look at it: from the feet, from the front, or from the patient's left; head up.

    Attributes:
        plane: of the slice.
        hu: (rows, columns) of the CT.
        labels: (rows, columns) of the segmentation.
        pixel_mm: height and width of a pixel.
        letters: what lies left, right, top and bottom.
        position: where the slice lies, as viewers write it, e.g. "S 112 mm".
        levels: rows at which the axial views cut this one, head to feet; empty for axial views.
    """

    plane: Plane
    hu: NDArray[Any]
    labels: NDArray[np.uint8]
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]
    position: str
    levels: tuple[float, ...] = ()

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width."""
        return self.hu.shape[0] * self.pixel_mm[0], self.hu.shape[1] * self.pixel_mm[1]


def choose_views(segmentation: Segmentation, volume: Volume) -> list[View]:
    """The axial slices, head to feet, that together show every structure near its largest; one coronal, one sagittal.

    They are cut to the body, and to the height that holds the structures. In a CT whose axes are tilted, slices follow
    the CT's own axes nearest to the patient's.
    """
    orientation = Orientation.of(volume.geometry)
    geometry = orientation.geometry_to_canonical(volume.geometry)
    hu = orientation.to_canonical(volume.hu)
    labels = orientation.to_canonical(segmentation.labels)
    shown = _shown_values(segmentation)
    areas = _areas(labels, shown)
    box = _box(hu, areas, geometry)
    levels = best_slices(areas[0], box[0], geometry.spacing_zyx_mm[0], AXIAL_LEVELS)[::-1]
    cuts = [(0, level) for level in levels]
    cuts += [(axis, best_slices(areas[axis], box[axis], geometry.spacing_zyx_mm[axis], 1)[0]) for axis in (1, 2)]
    return [_view(axis, index, hu, labels, geometry, box, levels) for axis, index in cuts]


def obliquity_degrees(geometry: Geometry) -> float:
    """The largest angle between an axis of the grid and the patient's axis nearest to it."""
    cosines = np.abs(np.asarray(geometry.direction)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, 0, 1))).max())


def best_slices(areas: NDArray[np.float64], within: slice, spacing_mm: float, count: int) -> list[int]:
    """At most `count` slices that together show each structure near its largest cross-section, ascending.

    Args:
        areas: (slices, structures) how much each slice shows of each structure, in any unit, weights included.
        within: the slices to choose from.
        spacing_mm: distance of neighbouring slices.
        count: how many; fewer where there are fewer slices.
    """
    candidates = np.arange(within.start, within.stop)
    largest = areas.max(axis=0, initial=0)
    if not largest.any():
        positions = (np.arange(count) + 0.5) / count * len(candidates)
        return sorted({int(candidates[int(position)]) for position in positions})
    least_gap = min(LEAST_GAP_MM / spacing_mm, len(candidates) / (2 * count))
    shown = np.zeros(areas.shape[1])
    chosen: list[int] = []
    while len(candidates) and len(chosen) < count:
        # What a slice adds to the slices chosen before; then, with little weight, how much it shows at all.
        gains = np.maximum(areas[candidates] - shown, 0).sum(axis=1) + 0.05 * areas[candidates].sum(axis=1)
        best = int(candidates[int(gains.argmax())])
        chosen.append(best)
        shown = np.maximum(shown, areas[best])
        candidates = candidates[np.abs(candidates - best) >= max(1.0, least_gap)]
    return sorted(chosen)


def _shown_values(segmentation: Segmentation) -> dict[int, float]:
    """Weight of each label value."""
    return {s.value: TUMOUR_WEIGHT if s.name == "tumour" else 1.0 for s in segmentation.structures}


def _areas(labels: NDArray[np.uint8], weights: dict[int, float]) -> list[NDArray[np.float64]]:
    """Per axis: (slices, values) voxels of each structure, as a weighted fraction of its largest cross-section."""
    values = sorted(weights)
    column = np.zeros(256, np.int64)
    column[values] = np.arange(1, len(values) + 1)
    width = len(values) + 1
    counts = [np.zeros((size, width)) for size in labels.shape]
    for z, plane in enumerate(labels):
        y, x = np.nonzero(plane)
        columns = column[plane[y, x]]
        counts[0][z] = np.bincount(columns, minlength=width)
        for axis, index in ((1, y), (2, x)):
            flat = np.bincount(index * width + columns, minlength=counts[axis].size)
            counts[axis] += flat.reshape(counts[axis].shape)
    weight = np.array([weights[value] for value in values])
    return [count[:, 1:] / np.maximum(count[:, 1:].max(axis=0, initial=0), 1) * weight for count in counts]


def _box(hu: NDArray[Any], areas: list[NDArray[np.float64]], geometry: Geometry) -> Box:
    """The body across, the structures with a margin along; never less than the structures."""
    body = body_box(hu, geometry.spacing_zyx_mm) or whole(hu.shape)
    found = [np.flatnonzero(area.any(axis=1)) for area in areas]
    if not found[0].size:
        return body
    spacing_mm = geometry.spacing_zyx_mm[0]
    middle_mm = (found[0][0] + found[0][-1] + 1) / 2 * spacing_mm
    half_mm = max((found[0][-1] + 1 - found[0][0]) * spacing_mm / 2 + MARGIN_MM, LEAST_HEIGHT_MM / 2)
    low = max(0, round((middle_mm - half_mm) / spacing_mm))
    high = min(hu.shape[0], round((middle_mm + half_mm) / spacing_mm))
    y, x = (
        slice(min(part.start, int(indices[0])), max(part.stop, int(indices[-1]) + 1))
        for part, indices in zip(body[1:], found[1:], strict=True)
    )
    return slice(low, high), y, x


def _view(
    axis: int,
    index: int,
    hu: NDArray[Any],
    labels: NDArray[np.uint8],
    geometry: Geometry,
    box: Box,
    levels: list[int],
) -> View:
    cut: list[slice | int] = list(box)
    cut[axis] = index
    # Canonical rows of coronal and sagittal slices run from feet to head.
    upright = slice(None) if axis == 0 else slice(None, None, -1)
    centre = [(part.start + part.stop - 1) / 2 for part in box]
    centre[axis] = index
    position_mm = geometry.world_of((centre[0], centre[1], centre[2]))[2 - axis]
    rows, columns = [geometry.spacing_zyx_mm[other] for other in range(3) if other != axis]
    plane = PLANES[axis]
    return View(
        plane=plane,
        hu=hu[tuple(cut)][upright],
        labels=labels[tuple(cut)][upright],
        pixel_mm=(rows, columns),
        letters=_LETTERS[plane],
        position=f"{_AXIS_LETTERS[axis][int(position_mm > 0)]} {abs(position_mm):.0f} mm",
        levels=tuple(box[0].stop - 1.0 - level for level in levels) if axis else (),
    )
