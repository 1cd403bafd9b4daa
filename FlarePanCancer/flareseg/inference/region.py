"""The part of the scan that can hold abdominal organs, from the labels of the coarse net; where it must grow; and
whether what was found in it can be an abdomen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Box, Triple

SMALLEST_ISLAND_ML = 5.0
SHARE_OF_LARGEST = 0.3
"""A smaller island than this share of its structure's largest is taken for an error of the coarse net."""
SMALLEST_ABDOMEN_ML = 30.0
MARGIN_MM = 30.0
FOLLOWED_MM = 96.0
"""How far the region grows at a time where a structure leaves it."""
OVERLAP_MM = 60.0
"""What the network sees again then, of what it has seen."""
LEAVING_MM2 = 40.0
"""Area of a structure's section in the region's last slice: a fifth of a narrow aorta's."""
WHOLE_ABDOMEN_ML = 300.0
WHOLE_ABDOMEN_SHARE = 0.03
"""Of the body in view. An adult's organs have some 2 litres, a newborn's 200 ml, but a twentieth of its body."""
BODY_HU = -300


def region_of_labels(labels: NDArray[Any], spacing_zyx_mm: Triple, scale_zyx: Triple, within: Box) -> Box | None:
    """The box of the coarse labels, with a margin, in voxels of the CT.

    Of every structure the largest island counts, and those that are not much smaller. What the coarse net has left out
    at an end of the body is found by `extension`.

    Args:
        labels: (z, y, x) coarse labels of the part `within` of the CT; 0 is background.
        spacing_zyx_mm: of `labels`.
        scale_zyx: CT voxels per voxel of `labels`, per axis.
        within: the part of the CT that `labels` covers.

    Returns:
        a part of `within`; None when less than 30 ml of organs were found.
    """
    import cc3d

    voxel_ml = float(np.prod(spacing_zyx_mm)) / 1000
    islands = cc3d.connected_components(_large_islands(labels), connectivity=26)
    statistics = cc3d.statistics(islands)
    counts = statistics["voxel_counts"][1:] * voxel_ml
    kept = np.flatnonzero(counts >= SMALLEST_ISLAND_ML)
    if counts[kept].sum() < SMALLEST_ABDOMEN_ML:
        return None
    boxes = [statistics["bounding_boxes"][1 + number] for number in kept]
    parts = []
    for axis in range(3):
        margin = MARGIN_MM / spacing_zyx_mm[axis]
        low = min(box[axis].start for box in boxes) - margin
        high = max(box[axis].stop for box in boxes) + margin
        outer = within[axis]
        start = max(outer.start, outer.start + int(np.floor(low * scale_zyx[axis])))
        stop = min(outer.stop, outer.start + int(np.ceil(high * scale_zyx[axis])))
        parts.append(slice(start, stop))
    return parts[0], parts[1], parts[2]


def _large_islands(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """(z, y, x) where the largest island of each structure lies, and others of a similar size."""
    import cc3d

    islands = cc3d.connected_components(labels, connectivity=26)
    counts = cc3d.statistics(islands)["voxel_counts"].astype(np.int64)
    structure = np.zeros(len(counts), labels.dtype)
    structure[islands] = labels
    counts[structure == 0] = 0
    largest = np.zeros(int(structure.max()) + 1, np.int64)
    np.maximum.at(largest, structure, counts)
    kept = (structure > 0) & (counts >= SHARE_OF_LARGEST * largest[structure])
    where: NDArray[np.bool_] = kept[islands]
    return where


@dataclass(frozen=True)
class Extension:
    """A region that grew at one end.

    Attributes:
        box: the larger region.
        seen: what the network must see: what is new, and some of the old region.
        new: what is new.
    """

    box: Box
    seen: Box
    new: Box

    @property
    def new_within_seen(self) -> Box:
        """What is new, counted from the corner of `seen`."""
        z, y, x = (
            slice(new.start - seen.start, new.stop - seen.start) for new, seen in zip(self.new, self.seen, strict=True)
        )
        return z, y, x


@dataclass(frozen=True)
class Body:
    """How a body lies in a CT.

    Attributes:
        box: that it fills.
        axis: along it.
        spacing_zyx_mm: of the CT.
    """

    box: Box
    axis: int
    spacing_zyx_mm: Triple


def extension(labels: NDArray[Any], box: Box, body: Body, *, upwards: bool) -> Extension | None:
    """How the region grows along the body where a structure reaches its last slice, as an aorta that enters the chest.

    Args:
        labels: (z, y, x) of the CT, found so far in `box`.
        box: the region.
        body: what it cannot outgrow.
        upwards: at the end of the higher indices.

    Returns:
        None where nothing leaves, or the region ends with the body.
    """
    axis, spacing_zyx_mm = body.axis, body.spacing_zyx_mm
    old, most, step_mm = box[axis], body.box[axis], spacing_zyx_mm[axis]
    last = old.stop - 1 if upwards else old.start
    if old.start >= old.stop or (old.stop >= most.stop if upwards else old.start <= most.start):
        return None
    section = np.count_nonzero(labels[_with(box, axis, slice(last, last + 1))])
    if section * float(np.prod(spacing_zyx_mm)) / step_mm < LEAVING_MM2:
        return None
    further, overlap = (max(1, round(mm / step_mm)) for mm in (FOLLOWED_MM, OVERLAP_MM))
    if upwards:
        end = min(most.stop, old.stop + further)
        whole, seen, new = slice(old.start, end), slice(max(old.start, old.stop - overlap), end), slice(old.stop, end)
    else:
        end = max(most.start, old.start - further)
        whole, seen, new = slice(end, old.stop), slice(end, min(old.stop, old.start + overlap)), slice(end, old.start)
    return Extension(_with(box, axis, whole), _with(box, axis, seen), _with(box, axis, new))


def can_be_abdomen(labels: NDArray[Any], hu: NDArray[Any], spacing_zyx_mm: Triple, axis: int) -> bool:
    """Whether what was drawn can be abdominal organs, and not a muscle of a head or thigh that was taken for one.

    Organs that the scan's end cuts off may be small. Where none is cut off they are whole, and have the volume of whole
    ones.

    Args:
        labels: (z, y, x) of the whole CT.
        hu: (z, y, x) of the CT.
        spacing_zyx_mm: of both.
        axis: along the body.
    """
    voxel_ml = float(np.prod(spacing_zyx_mm)) / 1000
    drawn_ml = np.count_nonzero(labels) * voxel_ml
    if drawn_ml >= WHOLE_ABDOMEN_ML:
        return True
    section_mm2 = 1000 * voxel_ml / spacing_zyx_mm[axis]
    if any(np.count_nonzero(labels.take(end, axis)) * section_mm2 >= LEAVING_MM2 for end in (0, -1)):
        return True
    return bool(drawn_ml >= WHOLE_ABDOMEN_SHARE * np.count_nonzero(hu > BODY_HU) * voxel_ml)


def _with(box: Box, axis: int, part: slice) -> Box:
    z, y, x = (part if number == axis else own for number, own in enumerate(box))
    return z, y, x
