"""Which voxels of the tumour label belong to which lesion: one numbering for measurements, pictures and files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import TUMOUR, Structure
from flareseg.segmentation import Segmentation
from flareseg.volume import Box, Orientation

SMALLEST_ML = 0.1
"""Components below it are no lesions: a ball of less than 6 mm, too small for slices of usual thickness."""


@dataclass(frozen=True)
class LesionParts:
    """The 26-connected components of the tumour label, in canonical order of the axes.

    Attributes:
        structure: the tumour.
        parts: (z, y, x) number of the component of each voxel within `around`; 0 is none.
        around: the box of the whole tumour label.
        kept: the components that are lesions, the largest first: lesion 1, 2, ...
        boxes: of each component, within `around`, by its number.
        sizes: voxels of each component, by its number.
    """

    structure: Structure
    parts: NDArray[np.unsignedinteger]
    around: Box
    kept: tuple[int, ...]
    boxes: list[Box]
    sizes: NDArray[np.unsignedinteger]

    def lesion_numbers(self) -> NDArray[np.uint16]:
        """(z, y, x) within `around`: the number of each voxel's lesion; 0 outside and in what is too small for one."""
        table = np.zeros(len(self.sizes), np.uint16)
        table[list(self.kept)] = np.arange(1, len(self.kept) + 1)
        numbers: NDArray[np.uint16] = table[self.parts]
        return numbers


def lesion_parts(segmentation: Segmentation, smallest_ml: float = SMALLEST_ML) -> LesionParts | None:
    """The lesions of at least `smallest_ml`; None without any voxel of a tumour."""
    import cc3d

    tumour = next((structure for structure in segmentation.structures if structure.name == TUMOUR), None)
    if tumour is None:
        return None
    labels = Orientation.of(segmentation.geometry).to_canonical(segmentation.labels)
    around = _box_of(labels, tumour.value)
    if around is None:
        return None
    inside = np.ascontiguousarray(labels[around] == tumour.value)
    parts, count = cc3d.connected_components(inside, connectivity=26, return_N=True)
    found = cc3d.statistics(parts)
    sizes = found["voxel_counts"]
    order = sorted(range(1, count + 1), key=lambda number: -int(sizes[number]))
    kept = tuple(number for number in order if sizes[number] * segmentation.geometry.voxel_ml >= smallest_ml)
    return LesionParts(tumour, parts, around, kept, found["bounding_boxes"], sizes)


def _box_of(labels: NDArray[np.uint8], value: int) -> Box | None:
    """The box of a value; planes are looked at one by one, for a whole-body CT has half a gigabyte of them."""
    planes = [index for index, plane in enumerate(labels) if value in plane.tobytes()]
    if not planes:
        return None
    z = slice(planes[0], planes[-1] + 1)
    flat = (labels[z] == value).any(axis=0)
    y, x = (np.flatnonzero(flat.any(axis=axis)) for axis in (1, 0))
    return z, slice(int(y[0]), int(y[-1]) + 1), slice(int(x[0]), int(x[-1]) + 1)
