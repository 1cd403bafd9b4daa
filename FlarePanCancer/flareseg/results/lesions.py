"""Lesions one by one: where a tumour lies, how large it is, and its diameters as RECIST 1.1 takes them.

A lesion is a 26-connected component of the tumour label. Its longest diameter is taken in an axial plane, the one in
which it is longest, between the outer edges of voxels; the perpendicular is the longest line at a right angle to it in
the same plane. Planes are the CT's own slices, those nearest to axial; both lines end on the lesion's convex outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import Structure
from flareseg.lesion_parts import SMALLEST_ML as SMALLEST_ML
from flareseg.lesion_parts import lesion_parts
from flareseg.segmentation import Segmentation
from flareseg.volume import Box, Geometry, Orientation, Triple, Volume

LEAST_SHARE = 0.2
"""Of `_host_of`: what is attached to an organ by less does not lie in it."""
_STEPS = np.array([(0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5)])


@dataclass(frozen=True)
class Line:
    """A diameter: its length and its ends in the patient, LPS mm."""

    mm: float
    start_xyz_mm: Triple
    end_xyz_mm: Triple


@dataclass(frozen=True)
class Lesion:
    """One tumour.

    Attributes:
        number: from 1, the largest first.
        voxels: how many it has.
        mean_hu, sd_hu: of the CT in all of them; None without a CT.
        host: organ in which it lies, or None.
        longest, perpendicular: its axial diameters.
        touches_border: whether it reaches a face of the volume, so that the field of view may have cut it off.
        box, mask: where it lies in the canonical label map (`Orientation.to_canonical`), and which voxels of the box
            it has.
    """

    number: int
    voxels: int
    mean_hu: float | None
    sd_hu: float | None
    host: Structure | None
    longest: Line
    perpendicular: Line
    touches_border: bool
    box: Box = field(compare=False, repr=False)
    mask: NDArray[np.bool_] = field(compare=False, repr=False)


def find_lesions(segmentation: Segmentation, volume: Volume | None, smallest_ml: float = SMALLEST_ML) -> list[Lesion]:
    """Every lesion of at least `smallest_ml`, the largest first.

    Args:
        segmentation: labels on the grid of `volume`.
        volume: the CT; without it, lesions have no HU.
        smallest_ml: smaller components do not count.
    """
    found = lesion_parts(segmentation, smallest_ml)
    if found is None:
        return []
    orientation = Orientation.of(segmentation.geometry)
    labels = np.ascontiguousarray(orientation.to_canonical(segmentation.labels))
    hu = orientation.to_canonical(volume.hu) if volume else None
    grid = orientation.geometry_to_canonical(segmentation.geometry)
    organs = [structure for structure in segmentation.structures if structure is not found.structure]
    lesions = []
    for place, number in enumerate(found.kept, 1):
        own: Box = found.boxes[number]
        mask = found.parts[own] == number
        z, y, x = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(found.around, own, strict=True))
        inside = hu[z, y, x][mask].astype(np.float64) if hu is not None else None
        longest, perpendicular = _diameters(mask, (z.start, y.start, x.start), grid)
        ends = zip((z, y, x), labels.shape, strict=True)
        lesions.append(
            Lesion(
                number=place,
                voxels=int(found.sizes[number]),
                mean_hu=None if inside is None else float(inside.mean()),
                sd_hu=None if inside is None else float(inside.std()),
                host=_host_of(mask, labels, (z, y, x), organs, grid.spacing_zyx_mm),
                longest=longest,
                perpendicular=perpendicular,
                touches_border=any(part.start == 0 or part.stop == size for part, size in ends),
                box=(z, y, x),
                mask=mask,
            )
        )
    return lesions


def _diameters(mask: NDArray[np.bool_], corner_zyx: tuple[int, int, int], grid: Geometry) -> tuple[Line, Line]:
    """The longest axial diameter of a lesion and its perpendicular."""
    mm = np.asarray(grid.spacing_zyx_mm[1:])
    best, where, outline = -1.0, 0, np.zeros((0, 2))
    a, b = np.zeros(2), np.zeros(2)
    for z, plane in enumerate(mask):
        if not plane.any():
            continue
        hull = _outline(plane) * mm
        apart = np.linalg.norm(hull[:, None] - hull, axis=-1)
        if apart.max() > best + 1e-9:
            first, second = np.unravel_index(int(apart.argmax()), apart.shape)
            best, where, outline, a, b = float(apart.max()), z, hull, hull[first], hull[second]
    ends = _longest_chord(outline, np.array([-(b - a)[1], (b - a)[0]]) / best)

    def line(start_yx_mm: NDArray[np.float64], end_yx_mm: NDArray[np.float64]) -> Line:
        places = [
            grid.world_of((corner_zyx[0] + where, corner_zyx[1] + y / mm[0], corner_zyx[2] + x / mm[1]))
            for y, x in (start_yx_mm, end_yx_mm)
        ]
        return Line(float(np.hypot(*(end_yx_mm - start_yx_mm))), *places)

    return line(a, b), line(*ends)


def _outline(plane: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Corners (n, 2) of the convex outline of the middles of all outer pixel edges, in order; pixel units (y, x)."""
    from scipy.spatial import ConvexHull

    padded = np.pad(plane, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rim = np.argwhere(plane & ~inner)
    points = (rim[:, None, :] + _STEPS).reshape(-1, 2)
    corners: NDArray[np.float64] = points[ConvexHull(points).vertices]
    return corners


def _longest_chord(outline: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Both ends (2, 2) of the longest line in the direction `along` inside a convex outline.

    Its length is a concave, piecewise linear function of its place, with its corners at those of the outline: the
    longest line goes through one of them.
    """
    across = np.array([-along[1], along[0]])
    place, height = outline @ across, outline @ along
    following = np.roll(np.arange(len(outline)), -1)
    best, ends = -1.0, (0.0, 0.0, 0.0)
    for at in place:
        low, high = np.minimum(place, place[following]), np.maximum(place, place[following])
        crossed = (low <= at + 1e-9) & (high >= at - 1e-9)
        run = place[following] - place
        steep = np.abs(run) > 1e-9
        share = np.clip(np.where(steep, (at - place) / np.where(steep, run, 1), 0), 0, 1)
        reached = (height + share * (height[following] - height))[crossed]
        reached = np.concatenate([reached, height[np.abs(place - at) < 1e-9]])
        if np.ptp(reached) > best:
            best, ends = float(np.ptp(reached)), (float(at), float(reached.min()), float(reached.max()))
    at, bottom, top = ends
    return np.stack([at * across + bottom * along, at * across + top * along])


def _host_of(
    mask: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    box: Box,
    organs: Sequence[Structure],
    spacing_zyx_mm: Triple,
) -> Structure | None:
    """The organ in which a lesion lies, by contact and overlap.

    Contact is the share of the lesion's surface that borders on the organ. Overlap is the share of its voxels that lie
    between voxels of the organ along at least two of the three axes: a tumour takes the place of its organ in a label
    map, so that it overlaps with the organ around it, not with what is drawn. The larger sum of both wins; below
    `LEAST_SHARE` it lies in none.
    """
    wide: Box = tuple(  # type: ignore[assignment]
        slice(max(part.start - 1, 0), min(part.stop + 1, size)) for part, size in zip(box, labels.shape, strict=True)
    )
    inside = np.zeros(labels[wide].shape, bool)
    inside[tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wide, strict=True))] = mask
    contact, surface = _contact_mm2(inside, labels[wide], spacing_zyx_mm)
    best, host = LEAST_SHARE, None
    for structure in organs:
        touched = contact[structure.value] / surface
        if not touched:
            continue
        total = touched + _overlap(mask, labels, structure.value, box)
        if total > best:
            best, host = total, structure
    return host


def _contact_mm2(
    inside: NDArray[np.bool_], labels: NDArray[np.uint8], spacing_zyx_mm: Triple
) -> tuple[NDArray[np.float64], float]:
    """Area between a lesion and each label value, and its whole surface, mm²; the volume's own faces do not count."""
    contact = np.zeros(256)
    surface = 0.0
    for axis in range(3):
        area = float(np.prod([mm for other, mm in enumerate(spacing_zyx_mm) if other != axis]))
        first, second = (
            tuple(slice(*(ends if other == axis else (None, None))) for other in range(3))
            for ends in ((None, -1), (1, None))
        )
        for here, there in ((first, second), (second, first)):
            faces = labels[there][inside[here] & ~inside[there]]
            contact += area * np.bincount(faces, minlength=256)
            surface += area * len(faces)
    return contact, max(surface, 1e-9)


def _overlap(mask: NDArray[np.bool_], labels: NDArray[np.uint8], organ: int, box: Box) -> float:
    """Share of a lesion's voxels between voxels of an organ along at least two axes."""
    between = np.zeros(mask.shape, np.uint8)
    for axis in range(3):
        column: Box = tuple(slice(None) if k == axis else part for k, part in enumerate(box))  # type: ignore[assignment]
        seen = labels[column] == organ
        before = np.logical_or.accumulate(seen, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(seen, axis), axis=axis), axis)
        own = tuple(box[axis] if k == axis else slice(None) for k in range(3))
        between += (before & after)[own]
    return float((between[mask] >= 2).mean())
