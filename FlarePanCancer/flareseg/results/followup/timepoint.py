"""One scan of a follow-up: its result, organ by organ and lesion by lesion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import Structure
from flareseg.results.followup.shapes import Points, Shape, shape_of
from flareseg.results.lesions import Lesion, find_lesions
from flareseg.results.measure import Measurement, structure_rows
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Orientation, Volume


@dataclass(frozen=True)
class Timepoint:
    """A scan with its result.

    Attributes:
        segmentation: in canonical order.
        volume: the CT on the same grid, in canonical order; None where it was not given.
        scanned: its date; None where it is not known.
        lesions: the largest first.
        organs: volume of every structure.
    """

    segmentation: Segmentation
    volume: Volume | None
    scanned: date | None
    lesions: tuple[Lesion, ...]
    organs: tuple[Measurement, ...]
    _shapes: dict[int, Shape] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, segmentation: Segmentation, volume: Volume | None = None, scanned: date | None = None) -> Timepoint:
        """Measure a result.

        Args:
            segmentation: on any grid.
            volume: the CT, on the same grid.
            scanned: when.
        """
        orientation = Orientation.of(segmentation.geometry)
        labels = np.ascontiguousarray(orientation.to_canonical(segmentation.labels))
        grid = orientation.geometry_to_canonical(segmentation.geometry)
        canonical = replace(segmentation, labels=labels, geometry=grid, confidence=None)
        ct = volume.oriented(orientation) if volume else None
        lesions, organs = find_lesions(canonical, ct), structure_rows(canonical, ct)
        return cls(canonical, ct, scanned, tuple(lesions), tuple(organs))

    @property
    def name(self) -> str:
        return self.segmentation.name

    @property
    def grid(self) -> Geometry:
        return self.segmentation.geometry

    @property
    def slice_mm(self) -> float:
        """Distance of the slices, which stands for their thickness."""
        return self.grid.spacing_zyx_mm[0]

    @cached_property
    def hosted(self) -> NDArray[np.uint8]:
        """The label map with every lesion as part of the organ in which it lies."""
        labels: NDArray[np.uint8] = self.segmentation.labels.copy()
        for lesion in self.lesions:
            if lesion.host:
                labels[lesion.box][lesion.mask] = lesion.host.value
        return labels

    @cached_property
    def present(self) -> dict[int, Structure]:
        """The organs that have voxels, by value."""
        boxes = self._boxes
        return {s.value: s for s in self.segmentation.structures if s.value <= len(boxes) and boxes[s.value - 1]}

    def organ(self, value: int) -> Shape:
        """The shape of one of the organs that are `present`, its lesions included."""
        if value not in self._shapes:
            box = self._boxes[value - 1]
            assert box is not None
            self._shapes[value] = shape_of(self.hosted[box] == value, box, self.grid)
        return self._shapes[value]

    def lesion(self, lesion: Lesion) -> Shape:
        """The shape of one of its lesions."""
        key = -lesion.number
        if key not in self._shapes:
            self._shapes[key] = shape_of(lesion.mask, lesion.box, self.grid)
        return self._shapes[key]

    def organ_ml(self, value: int) -> float:
        """Volume of an organ, its lesions included."""
        box = self._boxes[value - 1]
        return float(np.count_nonzero(self.hosted[box] == value)) * self.grid.voxel_ml

    @cached_property
    def _boxes(self) -> list[tuple[slice, slice, slice] | None]:
        from scipy.ndimage import find_objects

        boxes: list[tuple[slice, slice, slice] | None] = find_objects(self.hosted)
        return boxes


def middle(lesion: Lesion) -> Points:
    """Middle (3,) of a lesion's longest diameter."""
    return np.asarray(np.add(lesion.longest.start_xyz_mm, lesion.longest.end_xyz_mm) / 2)
