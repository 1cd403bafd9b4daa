"""What a segmentation holds, as DICOM calls it: segments with number, label, codes, colour and tracking.

An organ is a segment. Every lesion is one of its own, largest first; what is labelled tumour and too small for a lesion
is one together, so that the segments are all of the label map and do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.io.dicom_results.planes import Planes
from flareseg.labels import TUMOUR, Structure
from flareseg.lesion_parts import LesionParts, lesion_parts
from flareseg.segmentation import Segmentation
from flareseg.volume import Orientation

SPECKS = "parts too small for a lesion"


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        number: from 1.
        label: unique in the object, at most 64 characters.
        structure: what it is of.
        lesion: its number among the lesions, as in the measurements; None for a structure, and for specks.
        tracking_uid: names what is segmented here, the same in all objects of one result.
    """

    number: int
    label: str
    structure: Structure
    lesion: int | None
    tracking_uid: str


@dataclass(frozen=True)
class Segments:
    """All segments of a result, and where they are.

    Attributes:
        planes: the grid.
        every: by number; never empty: where nothing was found, the first structure that was looked for, without voxels.
        numbers: (plane, row, column) number of the segment of each voxel, 0 is none; uint8 where that is enough.
    """

    planes: Planes
    every: tuple[Segment, ...]
    numbers: NDArray[np.uint8] | NDArray[np.uint16]

    @property
    def nothing_found(self) -> bool:
        return not self.numbers.any()


def segments_of(segmentation: Segmentation, planes: Planes) -> Segments:
    """The segments of what is present; with new tracking UIDs at every call."""
    from pydicom.uid import generate_uid

    present = segmentation.present()
    tumour = next((one for one in present if one.name == TUMOUR), None)
    parts = lesion_parts(segmentation) if tumour else None
    named: list[tuple[str, Structure, int | None]] = [
        (structure.title, structure, None) for structure in present if structure is not tumour or parts is None
    ]
    most = len(named) + (len(parts.kept) + 1 if parts else 0)
    kind: type[np.uint8] | type[np.uint16] = np.uint8 if most < 256 else np.uint16
    table = np.zeros(256, kind)
    for number, (_, structure, _) in enumerate(named, 1):
        table[structure.value] = number
    numbers = table[planes.orientation.to_canonical(segmentation.labels)]
    if parts:
        first = len(named)
        of_lesions = parts.lesion_numbers()
        named += [(f"Lesion {place}", parts.structure, place) for place in range(1, len(parts.kept) + 1)]
        inside = parts.parts > 0
        values = np.where(of_lesions > 0, of_lesions + np.uint16(first), np.uint16(len(named) + 1))
        if (inside & (of_lesions == 0)).any():
            named.append((f"{parts.structure.title}, {SPECKS}", parts.structure, None))
        _put(numbers, segmentation, planes, (parts, np.where(inside, values, 0).astype(kind)))
    if not named:
        named = [(segmentation.structures[0].title, segmentation.structures[0], None)]
    every = (
        Segment(number, label, structure, lesion, generate_uid())
        for number, ((_, structure, lesion), label) in enumerate(zip(named, _labels(named), strict=True), 1)
    )
    return Segments(planes, tuple(every), numbers)


def _put(
    numbers: NDArray[Any],
    segmentation: Segmentation,
    planes: Planes,
    lesions: tuple[LesionParts, NDArray[Any]],
) -> None:
    """Write the numbers of lesions, which come in canonical order, into those of the planes."""
    parts, values = lesions
    # from (plane, row, column) to the order of the CT's array, and on to the canonical one; all are views
    view = planes.orientation.from_canonical(numbers)
    target = Orientation.of(segmentation.geometry).to_canonical(view)[parts.around]
    np.copyto(target, values, where=values > 0)


def _labels(named: Sequence[tuple[str, Structure, int | None]]) -> list[str]:
    """At most 64 characters each, as DICOM allows, and no two the same."""
    result: list[str] = []
    for title, _, _ in named:
        label = title.replace("\\", "/")[:64]
        if label in result:
            label = f"{label[:58]} {len(result) + 1}"
        result.append(label)
    return result
