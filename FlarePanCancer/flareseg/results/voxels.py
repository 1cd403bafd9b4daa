"""The CT and its labels as the report's page holds them: small enough to be sent, fine enough to be read.

The body is cut out, voxels are averaged in blocks until they are few enough, and HU become codes of a byte each: in
steps of 3 HU where soft tissue lies, coarser elsewhere. Codes are stored as differences along a row, which packs
better.
"""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.inference.body import body_box, whole
from flareseg.segmentation import Segmentation
from flareseg.volume import Box, Geometry, Index, Orientation, Triple, Volume, box_of

MOST_VOXELS = 17_000_000
MOST_BYTES = 9_000_000
"""Of both arrays, packed: 12 MB as base64."""
_STEPS_HU = ((-1024, -160, 16), (-160, 260, 3), (260, 1700, 24))
"""From, to, step."""


@dataclass(frozen=True)
class PageVoxels:
    """What a page shows.

    Attributes:
        ct: (z, y, x) uint8 codes, canonical order; `levels_hu` says what they mean.
        labels: (z, y, x) uint8.
        geometry: the grid of both.
        blocks: how many of the CT's own voxels, along each axis, one stands for.
    """

    ct: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    geometry: Geometry
    blocks: Index

    def index_of(self, point_xyz_mm: Triple) -> Triple:
        """Where a point of the patient (LPS) lies, in voxels."""
        x, y, z, _ = np.linalg.inv(self.geometry.index_to_world()) @ [*point_xyz_mm, 1.0]
        return float(z), float(y), float(x)


@cache
def levels_hu() -> NDArray[np.int16]:
    """The HU that each code stands for, ascending."""
    parts = [np.arange(low, high, step) for low, high, step in _STEPS_HU]
    return np.concatenate([*parts, [_STEPS_HU[-1][1]]]).astype(np.int16)


def codes_of(hu: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest code of each HU."""
    low, high = int(levels_hu()[0]), int(levels_hu()[-1])
    middles = (levels_hu()[1:].astype(float) + levels_hu()[:-1]) / 2
    table = np.searchsorted(middles, np.arange(low, high + 1)).astype(np.uint8)
    found: NDArray[np.uint8] = table[np.rint(np.clip(hu, low, high)).astype(np.int32) - low]
    return found


def page_voxels(segmentation: Segmentation, volume: Volume, most_voxels: int = MOST_VOXELS) -> PageVoxels:
    """The body in at most `most_voxels` voxels.

    Args:
        segmentation: on the grid of `volume`.
        volume: the CT.
        most_voxels: axes are coarsened, the finest first, until there are no more.
    """
    orientation = Orientation.of(volume.geometry)
    hu, labels = orientation.to_canonical(volume.hu), orientation.to_canonical(segmentation.labels)
    geometry = orientation.geometry_to_canonical(volume.geometry)
    box = _shown(hu, labels, geometry.spacing_zyx_mm)
    hu, labels = hu[box], labels[box]
    blocks = blocks_for(_shape(hu), geometry.spacing_zyx_mm, most_voxels)
    middles = [_middles(size, block) for size, block in zip(hu.shape, blocks, strict=True)]
    return PageVoxels(
        _averaged(hu, blocks),
        np.ascontiguousarray(labels[np.ix_(*middles)]),
        _coarse(geometry, box, blocks),
        blocks,
    )


def pack(voxels: PageVoxels) -> tuple[bytes, bytes] | None:
    """Codes (as differences along rows) and labels, gzip in base64; None where they take more than `MOST_BYTES`."""
    differences = voxels.ct.copy()
    differences[..., 1:] -= voxels.ct[..., :-1]  # modulo 256
    packed = [gzip.compress(array.tobytes(), 6, mtime=0) for array in (differences, voxels.labels)]
    if sum(map(len, packed)) > MOST_BYTES:
        return None
    return base64.b64encode(packed[0]), base64.b64encode(packed[1])


def fitting(segmentation: Segmentation, volume: Volume) -> tuple[PageVoxels, bytes, bytes]:
    """As many voxels as fit, and both arrays packed."""
    most = MOST_VOXELS
    while True:
        voxels = page_voxels(segmentation, volume, most)
        if packed := pack(voxels):
            return voxels, *packed
        most = voxels.ct.size * 3 // 4


def blocks_for(shape_zyx: Index, spacing_zyx_mm: Triple, most_voxels: int) -> Index:
    """How many voxels along each axis become one, so that `most_voxels` are enough and voxels become no longer than
    they must."""
    blocks = [1, 1, 1]
    while np.prod([-(-size // block) for size, block in zip(shape_zyx, blocks, strict=True)]) > most_voxels:
        lengths = [
            mm * block if block < size else np.inf
            for mm, block, size in zip(spacing_zyx_mm, blocks, shape_zyx, strict=True)
        ]
        blocks[int(np.argmin(lengths))] += 1
    return blocks[0], blocks[1], blocks[2]


def _shown(hu: NDArray[Any], labels: NDArray[np.uint8], spacing_zyx_mm: Triple) -> Box:
    """The box of the body, and of what was found wherever it is."""
    body = body_box(hu, spacing_zyx_mm) or whole(hu.shape)
    found = box_of(labels) or body
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(body, found, strict=True))
    return z, y, x


def _averaged(hu: NDArray[Any], blocks: Index) -> NDArray[np.uint8]:
    """The codes of the mean HU of each block; blocks at the upper ends may be smaller."""
    starts = [np.arange(0, size, block) for size, block in zip(hu.shape, blocks, strict=True)]
    result = np.empty([len(start) for start in starts], np.uint8)
    for number, first in enumerate(starts[0]):
        slab = hu[first : first + blocks[0]]
        if blocks == (1, 1, 1):
            result[number] = codes_of(slab[0])
            continue
        total = np.clip(slab, *levels_hu()[[0, -1]]).sum(axis=0, dtype=np.float32)
        for axis in (0, 1):
            total = np.add.reduceat(total, starts[1 + axis], axis=axis)
        lengths = [np.diff([*start, size]) for start, size in zip(starts[1:], hu.shape[1:], strict=True)]
        result[number] = codes_of(total / (len(slab) * np.outer(*lengths)))
    return result


def _middles(size: int, block: int) -> NDArray[Any]:
    return np.minimum(np.arange(0, size, block) + block // 2, size - 1)


def _coarse(geometry: Geometry, box: Box, blocks: Index) -> Geometry:
    """The grid of the blocks of a part of a grid."""
    z, y, x = (part.start + (block - 1) / 2 for part, block in zip(box, blocks, strict=True))
    sz, sy, sx = (mm * block for mm, block in zip(geometry.spacing_zyx_mm, blocks, strict=True))
    nz, ny, nx = (-(-(part.stop - part.start) // block) for part, block in zip(box, blocks, strict=True))
    return replace(
        geometry,
        shape_zyx=(nz, ny, nx),
        spacing_zyx_mm=(sz, sy, sx),
        origin_xyz_mm=geometry.world_of((z, y, x)),
        nifti=None,
    )


def _shape(array: NDArray[Any]) -> Index:
    z, y, x = array.shape
    return z, y, x
