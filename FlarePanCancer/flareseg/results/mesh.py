"""The surface of a mask as a mesh, and its largest diameters: the definitions of PyRadiomics' shape features.

Marching cubes put a vertex on the middle of every line between the centres of two neighbouring voxels of which one is
in the mask. Where a face of a cube has two opposite corners inside, the mesh can keep them apart or join them.
PyRadiomics has a table for the cubes whose corner (1, 1, 0) is outside, in which it keeps them apart, and turns the
other cubes inside out, so that there it joins them. Loops of five and more edges are cut into triangles from one of
their vertices, as in the tables that go back to Lorensen and Cline, SIGGRAPH 1987. Area and volume are sums over the
cubes: what each code adds is known once the size of voxels is, so that no triangle of a mask is ever made.

Definitions: van Griethuysen et al., Cancer Research 2017; Zwanenburg et al. (IBSI), Radiology 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from flareseg.results.surface import block_codes, corner_bits
from flareseg.volume import Triple

Point = tuple[float, float, float]
Corner = tuple[int, int, int]
_TURNING = (1, 1, 0)
"""Cubes with this corner in the mask are seen from inside."""
_STEPS = np.concatenate([np.eye(3), -np.eye(3)]) / 2
"""From a voxel's centre to where the mesh may have vertices."""
_FEW = 64


@dataclass(frozen=True)
class Mesh:
    """What a closed surface encloses; a voxel of 1 mm alone has a surface of 1.73 mm² around 0.17 mm³."""

    area_mm2: float
    volume_mm3: float


def mesh_of(mask: NDArray[np.bool_], spacing_zyx_mm: Triple) -> Mesh:
    """Area and volume of the mesh of a mask.

    Args:
        mask: (z, y, x), at least one voxel; beyond it everything is outside.
        spacing_zyx_mm: voxel size.
    """
    codes = block_codes(mask)
    # Code 255 and, after the subtraction, 0 too are the largest: full and empty cubes have no surface.
    places = np.flatnonzero((codes - np.uint8(1)) < 254)
    crossed = codes.ravel()[places]
    area, volume, normal = _parts(spacing_zyx_mm)
    counts = np.bincount(crossed, minlength=256)
    total = float(counts @ volume)
    for axis, index in enumerate(np.unravel_index(places, codes.shape)):
        # The cone from the origin to the part of the surface in a cube that does not lie at the origin.
        total += float(np.bincount(crossed, index, minlength=256) @ normal[:, axis]) * spacing_zyx_mm[axis] / 3
    return Mesh(float(counts @ area), total)


def largest_diameter_mm(mask: NDArray[np.bool_], spacing_zyx_mm: Triple) -> float:
    """The largest distance of two vertices of the mesh of a mask.

    Args:
        mask: (z, y, x), at least one voxel.
        spacing_zyx_mm: voxel size.
    """
    # A vertex of the convex hull of the mesh is half a step from a voxel that is a vertex of the hull of all voxels.
    centres = _outermost(mask)
    vertices = (centres[:, None, :] + _STEPS).reshape(-1, 3) * np.asarray(spacing_zyx_mm)
    return _farthest(vertices)


def largest_diameters_in_planes_mm(mask: NDArray[np.bool_], spacing_zyx_mm: Triple) -> Triple:
    """As `largest_diameter_mm`, of vertices in one plane across the array's axis z, y and x; 0 where no plane has two.

    Vertices lie in the planes of voxel centres and in those half-way between them.
    """
    z, y, x = (_in_planes(np.moveaxis(mask, axis, 0), axis, spacing_zyx_mm) for axis in range(3))
    return z, y, x


def _in_planes(mask: NDArray[np.bool_], axis: int, spacing_zyx_mm: Triple) -> float:
    """Of planes across the first axis of a mask, which is axis `axis` of the array."""
    mm = np.asarray([size for other, size in enumerate(spacing_zyx_mm) if other != axis])
    empty = np.zeros(mask.shape[1:], bool)
    steps = np.concatenate([np.eye(2), -np.eye(2)]) / 2
    planes: list[tuple[float, NDArray[np.float64]]] = []
    before = empty
    for plane in (*mask, empty):
        for found, offsets in ((plane, steps), (plane ^ before, np.zeros((1, 2)))):
            if found.any():
                ends = _row_ends(found)
                points = (ends[:, None, :] + offsets).reshape(-1, 2) * mm
                planes.append((float(np.linalg.norm(np.ptp(points, axis=0))), points))
        before = plane
    best = 0.0
    for bound, points in sorted(planes, key=lambda pair: -pair[0]):
        if bound <= best:
            break
        best = max(best, _farthest(points))
    return best


def _row_ends(plane: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 2) index of the first and the last pixel of each row that has any."""
    rows = np.flatnonzero(plane.any(axis=1))
    used = plane[rows]
    first, last = used.argmax(axis=1), plane.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
    return np.stack([np.tile(rows, 2), np.concatenate([first, last])], axis=1).astype(np.float64)


def _outermost(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 3) index of voxels among which are all vertices of the convex hull of a mask: ends of rows that stand out
    from the ends of the rows beside them."""
    used = mask.any(axis=2)
    first = np.where(used, mask.argmax(axis=2), np.inf)
    last = np.where(used, mask.shape[2] - 1 - mask[:, :, ::-1].argmax(axis=2), -np.inf)
    found = []
    for ends in (first, -last):
        outside = np.pad(ends, 1, constant_values=np.inf)
        inner = outside[1:-1, 1:-1]
        # Rows that are not there are infinitely far inside, so that what lies beside them stands out.
        stands_out = used.copy()
        for low, high in ((outside[:-2, 1:-1], outside[2:, 1:-1]), (outside[1:-1, :-2], outside[1:-1, 2:])):
            stands_out &= 2 * np.where(used, inner, 0) < low + high
        z, y = np.nonzero(stands_out)
        found.append(np.stack([z, y, np.abs(ends[z, y])], axis=1))
    return np.concatenate(found)


def _farthest(points: NDArray[np.float64]) -> float:
    """The largest distance among points (n, 2) or (n, 3), of which not all are in one line or plane unless few."""
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import pdist

    if len(points) > _FEW:
        try:
            points = points[ConvexHull(points).vertices]
        except QhullError:  # all in one line
            order = np.lexsort(points.T)
            points = points[order[[0, -1]]]
    return float(pdist(points).max()) if len(points) > 1 else 0.0


@cache
def _parts(spacing_zyx_mm: Triple) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What a cube adds by its code: area (256), volume of the cones from its first corner (256), and the sum of the
    outward normals of its triangles, as long as their areas (256, 3)."""
    mm = np.asarray(spacing_zyx_mm)
    area, volume, normal = np.zeros(256), np.zeros(256), np.zeros((256, 3))
    bits = corner_bits()
    for code in range(1, 255):
        turned = bool(code >> bits[_TURNING] & 1)
        for triangle in _triangles(code ^ 255 if turned else code):
            a, b, c = np.asarray(triangle) * mm
            across = np.cross(b - a, c - a) / 2
            sign = -1 if turned else 1
            area[code] += np.linalg.norm(across)
            volume[code] += sign * np.dot(a, np.cross(b, c)) / 6
            normal[code] += sign * across
    return area, volume, normal


@cache
def _triangles(code: int) -> tuple[tuple[Point, Point, Point], ...]:
    """The triangles in a cube of unit voxels, whose normals point outward; opposite corners of a face stay apart."""
    bits = corner_bits()
    inside = {corner for corner, bit in bits.items() if code >> bit & 1}
    following: dict[Point, Point] = {}
    for face in _faces():
        # Along a face's outline, counter-clockwise from outside, the mesh cuts off each run of corners inside.
        entry: Point | None = None
        for number in range(8):
            here, there = face[number % 4], face[(number + 1) % 4]
            if here not in inside and there in inside:
                entry = _middle(here, there)
            elif here in inside and there not in inside and entry is not None:
                following[entry] = _middle(here, there)
    triangles: list[tuple[Point, Point, Point]] = []
    while following:
        start, after = following.popitem()
        loop = [start]
        while after != start:
            loop.append(after)
            after = following.pop(after)
        triangles += _fan(loop)
    return tuple(triangles)


def _fan(loop: list[Point]) -> list[tuple[Point, Point, Point]]:
    """A loop's triangles: all from the vertex that gives the largest area, in a loop of seven from that on its axis of
    symmetry."""
    fans = []
    for start in range(len(loop)):
        turned = loop[start:] + loop[:start]
        fans.append([(turned[0], turned[n], turned[n + 1]) for n in range(1, len(loop) - 1)])
    areas = [round(sum(_area(*triangle) for triangle in fan), 6) for fan in fans]
    if len(loop) == 7:
        return next(fan for fan, area in zip(fans, areas, strict=True) if areas.count(area) == 1)
    return fans[areas.index(max(areas))]


def _area(a: Point, b: Point, c: Point) -> float:
    return float(np.linalg.norm(np.cross(np.subtract(b, a), np.subtract(c, a)))) / 2


def _middle(a: Corner, b: Corner) -> Point:
    z, y, x = ((one + other) / 2 for one, other in zip(a, b, strict=True))
    return z, y, x


@cache
def _faces() -> tuple[tuple[Corner, ...], ...]:
    """The four corners of each face of a cube, so that its normal points outward in (z, y, x)."""
    faces = []
    for axis, side in product(range(3), (0, 1)):
        first, second = ((axis + 1) % 3, (axis + 2) % 3)
        outline = []
        for a, b in ((0, 0), (1, 0), (1, 1), (0, 1)):
            corner = [side, side, side]
            corner[first], corner[second] = a, b
            outline.append((corner[0], corner[1], corner[2]))
        faces.append(tuple(outline if side else outline[::-1]))
    return tuple(faces)
