"""A label map for a program that shows it at once: a NRRD without compression, whose header says where the labels are.

3D Slicer's window stands still while its module reads a result. Of this format it reads the slices with labels, and
need not look for them. For everybody else it is a NRRD like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.nrrd import read_nrrd, write_nrrd
from flareseg.io.opening import reading
from flareseg.segmentation import Segmentation
from flareseg.volume import Box, Geometry, box_of

BOX, VALUES = "flareseg_box", "flareseg_values"
"""Keys of the header: first and one after the last index along z, y, x of what is no background; the labels there."""

LONGEST_LIST = 2000
"""Characters."""


@dataclass(frozen=True)
class Found:
    """What is no background of a label map.

    Attributes:
        labels: (z, y, x) uint8, C order, cut to `box`.
        box: where that lies on the whole grid; None where all is background, and `labels` has no voxel.
        geometry: of the whole grid.
        values: the labels that occur, ascending, without 0.
    """

    labels: NDArray[np.uint8]
    box: Box | None
    geometry: Geometry
    values: tuple[int, ...]


def cut_to_labels(labels: NDArray[np.uint8], geometry: Geometry) -> Found:
    """Find what is no background of a (z, y, x) label map in memory."""
    box = box_of(labels)
    if box is None:
        return Found(labels[:0], None, geometry, ())
    part = np.ascontiguousarray(labels[box])
    values = np.flatnonzero(np.bincount(part.ravel(), minlength=256))
    return Found(part, box, geometry, tuple(int(value) for value in values if value))


def write_labels_nrrd(path: Path, segmentation: Segmentation) -> None:
    """Write a label map."""
    found = cut_to_labels(segmentation.labels, segmentation.geometry)
    edges = [edge for part in found.box or () for edge in (part.start, part.stop)]
    fields = {BOX: " ".join(map(str, edges)), VALUES: " ".join(map(str, found.values))}
    write_nrrd(path, segmentation.labels, segmentation.geometry, fields, compressed=False)


def read_labels_nrrd(path: Path) -> Found:
    """Read what is no background of a file that `write_labels_nrrd` wrote; of the rest not a byte.

    Raises:
        InputError: when it is missing or damaged, or another program's.
    """
    with reading(path):
        header = read_nrrd(path)
        geometry, payload = header.geometry, header.payload
        damaged = InputError(f"'{path}' is damaged, or no label map of flareseg.")
        if payload.encoding != "raw" or payload.dtype != np.dtype("u1") or payload.files != (path,):
            raise damaged
        edges, values = _numbers(header.fields.get(BOX, "-")), _numbers(header.fields.get(VALUES, "-"))
        if not edges:
            return Found(np.zeros((0, 0, 0), np.uint8), None, geometry, ())
        if len(edges) != 6 or not values or not all(0 < value < 256 for value in values):
            raise damaged
        box = (slice(*edges[:2]), slice(*edges[2:4]), slice(*edges[4:]))
        if not all(0 <= part.start < part.stop <= size for part, size in zip(box, geometry.shape_zyx, strict=True)):
            raise damaged
        _, y, x = geometry.shape_zyx
        whole = np.empty((y, x), np.uint8)
        part = np.empty(tuple(edge.stop - edge.start for edge in box), np.uint8)
        with path.open("rb") as file:
            file.seek(payload.offset + box[0].start * y * x)
            for piece in part:
                if file.readinto(whole.data) != whole.nbytes:
                    raise damaged
                piece[:] = whole[box[1], box[2]]
        return Found(part, box, geometry, tuple(values))


def _numbers(text: str) -> list[int]:
    """Whole numbers with spaces between; [-1] for any other text."""
    fits = len(text) < LONGEST_LIST and re.fullmatch(r"(\d+( \d+)*)?", text.strip())
    return [int(word) for word in text.split()] if fits else [-1]
