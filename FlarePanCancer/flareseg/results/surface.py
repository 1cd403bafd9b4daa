"""The surface of a mask, and how much of two surfaces lies close together: Nikolov et al.'s surface DSC.

Definition: Nikolov et al., "Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy", J Med
Internet Res 2021, as google-deepmind's package surface-distance counts it, whose numbers these are. The surface is
what marching cubes draws between voxel centres: one element per block of 2 by 2 by 2 voxels that is neither full nor
empty, whose area is that of the block's triangles.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Triple, box_of

_CORNERS = {7 - (4 * a + 2 * b + c): (a, b, c) for a, b, c in product((0, 1), repeat=3)}
"""Which corner of a 2 by 2 by 2 block each bit of its code stands for."""
_NORMALS = np.array([(4, 0, 0), (0, 4, 0), (0, 0, 4), (0, 2, 2), (2, 0, 2), (2, 2, 0), (1, 1, 1)]) / 8
"""Up to signs, the normals of the triangles in a block of unit voxels; as long as the area, or a part of it."""
_CASES = {
    0b00000001: (0, 0, 0, 0, 0, 0, 1),
    0b00000011: (0, 0, 0, 0, 0, 2, 0),
    0b00000110: (0, 0, 0, 0, 0, 0, 2),
    0b00000111: (1, 0, 0, 0, 0, 0, 3),
    0b00001111: (2, 0, 0, 0, 0, 0, 0),
    0b00010110: (0, 0, 0, 0, 0, 0, 3),
    0b00010111: (0, 0, 0, 0, 0, 0, 6),
    0b00011000: (0, 0, 0, 0, 0, 0, 2),
    0b00011001: (0, 0, 0, 2, 0, 0, 1),
    0b00011011: (0, 0, 0, 1, 1, 0, 4),
    0b00011110: (1, 0, 0, 0, 0, 0, 4),
    0b00111100: (0, 0, 0, 0, 0, 4, 0),
    0b01101001: (0, 0, 0, 0, 0, 0, 4),
}
"""How much of each normal the blocks hold that cannot be turned, mirrored or inverted into each other."""


def surface_dice(first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_mm: Triple, tolerance_mm: float) -> float:
    """The share of both surfaces that lies within `tolerance_mm` of the other one.

    Args:
        first, second: masks of one shape, 3D, in any axis order.
        spacing_mm: voxel size along the array's axes, in its order.
        tolerance_mm: what still counts as the same place (inclusive).

    Returns:
        0 to 1; 1 where both are empty, 0 where one is.
    """
    both = first | second
    box = box_of(both)
    if box is None:
        return 1.0
    areas_mm2 = element_areas_mm2(spacing_mm)
    codes = [block_codes(mask[box]) for mask in (first, second)]
    places = [np.flatnonzero(areas_mm2[code] > 0) for code in codes]
    if not len(places[0]) or not len(places[1]):
        return 0.0
    shape = codes[0].shape
    close = total = 0.0
    for mine, theirs in ((0, 1), (1, 0)):
        areas = areas_mm2[codes[mine].ravel()[places[mine]]]
        near = _within(places[mine], places[theirs], shape, spacing_mm, tolerance_mm)
        close += float(areas[near].sum())
        total += float(areas.sum())
    return close / total


@cache
def element_areas_mm2(spacing_mm: Triple) -> NDArray[np.float64]:
    """The area of the surface inside a block of 2 by 2 by 2 voxels, for each of its 256 codes.

    In a code, the bit 128 is the block's first voxel, 1 its last, in array order.
    """
    across_mm2 = np.prod(spacing_mm) / np.asarray(spacing_mm)  # the faces that axes 0, 1, 2 pierce
    triangle_mm2 = np.linalg.norm(_NORMALS * across_mm2, axis=1)
    areas = np.zeros(256)
    bits = corner_bits()
    for code, amounts in _CASES.items():
        for order in permutations(range(3)):
            # An axis permutation also permutes the normals along axes, and those across them.
            turned = [*(amounts[axis] for axis in order), *(amounts[3 + axis] for axis in order), amounts[6]]
            area = float(np.dot(turned, triangle_mm2))
            for mirrored in product((0, 1), repeat=3):
                image = 0
                for bit, corner in _CORNERS.items():
                    if code >> bit & 1:
                        a, b, c = (corner[axis] ^ flip for axis, flip in zip(order, mirrored, strict=True))
                        image |= 1 << bits[a, b, c]
                areas[image] = areas[255 - image] = area
    return areas


def corner_bits() -> dict[tuple[int, int, int], int]:
    """Which bit of a block's code stands for each corner."""
    return {corner: bit for bit, corner in _CORNERS.items()}


def _within(
    places: NDArray[np.int64],
    others: NDArray[np.int64],
    shape: tuple[int, ...],
    spacing_mm: Triple,
    tolerance_mm: float,
) -> NDArray[np.bool_]:
    """Which of the flat indices `places` lie within the tolerance of any of `others`."""
    near = np.isin(places, others, assume_unique=True)
    if tolerance_mm <= 0 or near.all():
        return near
    from scipy.spatial import cKDTree

    # Most elements of a good segmentation coincide; only the others need a search, and only as far as the tolerance.
    away = np.stack(np.unravel_index(places[~near], shape), axis=1)
    known = np.stack(np.unravel_index(others, shape), axis=1)
    tree = cKDTree(known * np.asarray(spacing_mm), balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(away * np.asarray(spacing_mm), distance_upper_bound=tolerance_mm * (1 + 1e-6))
    found = nearest < len(known)
    steps = away[found] - known[nearest[found]]
    # From whole steps, because positions far from the origin would round a distance that equals the tolerance.
    distance_mm = np.sqrt(((steps * np.asarray(spacing_mm)) ** 2).sum(axis=1))
    hits = np.zeros(len(away), bool)
    hits[found] = distance_mm <= tolerance_mm
    near[~near] = hits
    return near


def block_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The code of every block of 2 by 2 by 2 voxels that touches the mask's box; one more per axis than the mask."""
    code: NDArray[Any] = np.pad(mask.view(np.uint8), 1)
    code = code[:, :, :-1] << 1 | code[:, :, 1:]
    code = code[:, :-1] << 2 | code[:, 1:]
    codes: NDArray[np.uint8] = code[:-1] << 4 | code[1:]
    return codes
