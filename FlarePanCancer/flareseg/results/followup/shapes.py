"""The shape of an organ or a lesion in the patient: its surface, its inside, and how far any point is from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Box, Geometry

Points = NDArray[np.float64]
"""(n, 3) places in the patient, LPS x, y, z in mm."""

MARGIN_MM = 30.0
"""How far around a shape distances are known; beyond it, everything is as far as that."""
STEPS_ACROSS = 40
FINEST_MM, COARSEST_MM = 1.5, 4.0
MOST_POINTS = 2000
SLOPE_MM = 1.0


@dataclass(frozen=True)
class Shape:
    """A shape, on a grid of its own along the axes of its scan.

    Attributes:
        distance_mm: (z, y, x) signed distance to the surface, inside below 0.
        own: the grid of `distance_mm`, of one spacing along all axes.
        surface: places on its surface, but none where the field of view cuts it.
        inside: places in it.
        scan: the grid of the scan in which it was seen.
    """

    distance_mm: NDArray[np.float32]
    own: Geometry
    surface: Points
    inside: Points
    scan: Geometry

    @cached_property
    def centre(self) -> Points:
        """Mean (3,) of the places in it."""
        return np.asarray(self.inside.mean(axis=0))

    @cached_property
    def radius_mm(self) -> float:
        """Of the ball about its centre that holds it."""
        return float(np.linalg.norm(self.inside - self.centre, axis=1).max()) + self.own.spacing_zyx_mm[0]

    def distance(self, points: Points) -> NDArray[np.float64]:
        """Signed distance (n,) of each point to the surface, mm."""
        from scipy.ndimage import map_coordinates

        index = index_of(points, self.own)
        return np.asarray(map_coordinates(self.distance_mm, index.T, order=1, mode="nearest"), np.float64)

    def misfit(self, points: Points) -> NDArray[np.float64]:
        """As `distance`, of points that are the outermost voxels of another shape: they lie half a step inside it."""
        return self.distance(points) + self.own.spacing_zyx_mm[0] / 2

    def slope(self, points: Points) -> Points:
        """Gradient (n, 3) of the distance at each point, along x, y, z."""
        steps = np.eye(3) * SLOPE_MM
        return np.stack([self.distance(points + step) - self.distance(points - step) for step in steps], 1) / (
            2 * SLOPE_MM
        )

    def sees(self, points: Points) -> NDArray[np.bool_]:
        """Which points (n,) lie in the scan in which the shape was seen."""
        return in_view(points, self.scan)


def in_view(points: Points, grid: Geometry) -> NDArray[np.bool_]:
    """Which points (n,) lie in the voxels of a grid."""
    index = index_of(points, grid)
    return np.asarray(((index >= -0.5) & (index <= np.asarray(grid.shape_zyx) - 0.5)).all(axis=1))


def index_of(points: Points, grid: Geometry) -> Points:
    """The (n, 3) fractional z, y, x index of each point."""
    back = np.linalg.inv(grid.index_to_world())
    return np.asarray((points @ back[:3, :3].T + back[:3, 3])[:, ::-1])


def places_of(index_zyx: NDArray[np.int64] | Points, grid: Geometry) -> Points:
    """The places (n, 3) of voxel indices (n, 3)."""
    matrix = grid.index_to_world()
    return np.asarray(index_zyx[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3])


def shape_of(mask: NDArray[np.bool_], box: Box, scan: Geometry) -> Shape:
    """The shape of a mask.

    Where the field of view cuts it, it is taken to go on as it ends: what lies beyond is unknown, and the cut is no
    surface.

    Args:
        mask: (z, y, x) voxels of `box`, at least one.
        box: where they lie in `scan`.
        scan: the grid of the whole scan.
    """
    spacing = scan.spacing_zyx_mm
    extent = max((part.stop - part.start) * mm for part, mm in zip(box, spacing, strict=True))
    step = float(np.clip(extent / STEPS_ACROSS, FINEST_MM, COARSEST_MM))
    axes, filled, seen = _stepped(mask, box, scan, step)
    while not seen.any():  # a thread between the steps; with a step in every voxel none is missed
        step = max(step / 2, min(spacing))
        axes, filled, seen = _stepped(mask, box, scan, step)
    own = Geometry(
        shape_zyx=(filled.shape[0], filled.shape[1], filled.shape[2]),
        spacing_zyx_mm=(step, step, step),
        origin_xyz_mm=scan.world_of((float(axes[0][0]), float(axes[1][0]), float(axes[2][0]))),
        direction=scan.direction,
    )
    distance = _signed_distance(filled, step)
    return Shape(
        distance_mm=distance,
        own=own,
        surface=_some(places_of(np.argwhere(seen & (distance > -step)), own)),
        inside=_some(places_of(np.argwhere(seen), own)),
        scan=scan,
    )


def _stepped(
    mask: NDArray[np.bool_], box: Box, scan: Geometry, step: float
) -> tuple[list[Points], NDArray[np.bool_], NDArray[np.bool_]]:
    """The steps along each axis in voxels of the scan, the mask at them, and where the scan shows it."""
    axes = []
    for part, mm in zip(box, scan.spacing_zyx_mm, strict=True):
        extent = (part.stop - part.start) * mm
        steps = np.arange(-MARGIN_MM, extent + MARGIN_MM + step, step) + step / 2
        axes.append(part.start - 0.5 + steps / mm)
    filled = _sampled(mask, box, scan, axes)
    shown = _outer([(at >= -0.5) & (at <= n - 0.5) for at, n in zip(axes, scan.shape_zyx, strict=True)])
    return axes, filled, filled & shown


def _sampled(mask: NDArray[np.bool_], box: Box, scan: Geometry, axes: list[Points]) -> NDArray[np.bool_]:
    """The mask at each place, by the nearest voxel; beyond the scan, that at its edge."""
    result = mask
    for axis, (at, part, size) in enumerate(zip(axes, box, scan.shape_zyx, strict=True)):
        index = np.clip(np.rint(at).astype(np.int64), 0, size - 1) - part.start
        within = (index >= 0) & (index < mask.shape[axis])
        taken = result.take(np.where(within, index, 0), axis=axis)
        taken &= within.reshape([-1 if k == axis else 1 for k in range(3)])
        result = taken
    return result


def _outer(parts: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.asarray(parts[0][:, None, None] & parts[1][:, None] & parts[2])


def _signed_distance(filled: NDArray[np.bool_], step: float) -> NDArray[np.float32]:
    """The surface lies between the voxels, half a step from the nearest centres."""
    from scipy.ndimage import distance_transform_edt

    outside, inside = distance_transform_edt(~filled), distance_transform_edt(filled)
    signed = np.where(filled, 0.5 - inside, outside - 0.5) * step
    return np.asarray(signed, np.float32)


def _some(points: Points) -> Points:
    """At most `MOST_POINTS` of them, spread evenly and always the same."""
    if len(points) <= MOST_POINTS:
        return points
    chosen = np.random.default_rng(0).choice(len(points), MOST_POINTS, replace=False)
    return points[np.sort(chosen)]
