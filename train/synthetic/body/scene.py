"""Canvas of the phantom: a warped coordinate space in mm, signed distances in it, and painting with soft edges.

Standard space: x runs from the patient's right to left (0 = midline), y from front to back (0 = centre of the vertebral
bodies), z upwards (0 = centre of L1); all in mm of a standard adult. `Scene` maps each voxel of one patient to that
space. A `Region` is a box of the scene in which shapes are evaluated as signed distances (negative inside, float32
(z, y, x)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from train.synthetic.body.shapes import FAR, Point, smooth_path

Box = tuple[slice, slice, slice]
_CUBE = 80  # voxels per side of the periodic noise cubes


@dataclass(frozen=True)
class Build:
    """Scaling of the standard adult along each axis, separately in front of and behind the spine."""

    width: float
    front: float
    back: float
    height: float

    @property
    def organ_factor(self) -> float:
        """Factor for organ radii: organs grow less than the body."""
        return float((self.width * self.front * self.height) ** (-0.8 / 3))


class Scene:
    """HU (float32) and labels (uint8) of one patient on a grid, with the standard coordinates of every voxel."""

    def __init__(
        self,
        rng: np.random.Generator,
        build: Build,
        low_zyx: Point,
        high_zyx: Point,
        spacing_zyx_mm: tuple[float, float, float],
        *,
        bend_mm: float,
    ) -> None:
        """Create the grid from `low_zyx` to `high_zyx` (mm in the patient's body, origin at the spine)."""
        self.rng = rng
        self.build = build
        self.spacing = spacing_zyx_mm
        self.organ_factor = build.organ_factor
        z, y, x = (
            np.arange(lo, hi, step, dtype=np.float32)
            for lo, hi, step in zip(low_zyx, high_zyx, spacing_zyx_mm, strict=True)
        )
        deep = np.where(y < 0, y / build.front, y / build.back).astype(np.float32)
        self.axes = (z / np.float32(build.height), deep, x / np.float32(build.width))
        self.shape = (len(z), len(y), len(x))
        self.z, self.y, self.x = self._bent_axes(bend_mm)
        self.reach = 3.0 * bend_mm + 2.0
        # Width of soft edges: about one voxel; the in-plane spacing if slices are thick.
        self.edge = 0.85 * float(min(np.mean(spacing_zyx_mm), 1.4 * np.mean(spacing_zyx_mm[1:])))
        self.hu = np.full(self.shape, -1000.0, np.float32)
        self.labels = np.zeros(self.shape, np.uint8)
        self.barrier = np.full(self.shape, FAR, np.float32)  # distance to bone and muscle that organs must not enter
        self.cavity = np.full(self.shape, FAR, np.float32)
        self.abdomen = np.full(self.shape, FAR, np.float32)
        self.flesh = np.full(self.shape, FAR, np.float32)  # distance to the muscles under the fat
        self._cubes = {scale: self._noise_cube(scale) for scale in (3.5, 8.0, 20.0)}

    def _bent_axes(self, bend_mm: float) -> list[np.ndarray]:
        """Standard coordinates of each voxel: axis positions plus a smooth random displacement.

        The displacement decreases towards the spine, because bones hardly bend.
        """
        node_mm = 46.0
        weights = []
        for axis in self.axes:
            nodes = np.arange(axis.min() - node_mm, axis.max() + 2 * node_mm, node_mm, dtype=np.float32)
            weight = np.exp(-0.5 * ((axis[:, None] - nodes[None]) / (0.6 * node_mm)) ** 2)
            weights.append((weight / np.sqrt((weight**2).sum(1, keepdims=True))).astype(np.float32))
        from_spine = np.hypot(self.axes[1][:, None] / 45, self.axes[2][None] / 45)
        freedom = (1 - 0.8 * np.exp(-(from_spine**2))).astype(np.float32) * bend_mm
        bent = []
        for k, axis in enumerate(self.axes):
            nodes = self.rng.standard_normal([w.shape[1] for w in weights]).astype(np.float32)
            field = np.tensordot(weights[2], nodes, (1, 2))  # x, Z, Y
            field = np.tensordot(weights[1], field, (1, 2))  # y, x, Z
            field = np.tensordot(weights[0], field, (1, 2))  # z, y, x
            field = np.clip(field, -2.8, 2.8) * freedom
            shape = [1, 1, 1]
            shape[k] = -1
            bent.append(np.add(field, axis.reshape(shape), dtype=np.float32))
        return bent

    def _noise_cube(self, scale_mm: float) -> np.ndarray:
        sigma = [0.5 * scale_mm / step for step in self.spacing]
        cube = ndimage.gaussian_filter(
            self.rng.standard_normal((_CUBE,) * 3, dtype=np.float32), sigma, mode="wrap", truncate=3
        )
        return cube / max(float(cube.std()), 1e-6)

    def region(self, low_xyz: Point, high_xyz: Point, pad: float = 0.0) -> Region:
        """The voxels that may lie between two corners (x, y, z) of standard space; possibly empty."""
        margin = pad + self.reach
        return Region(self, _box(self.axes, np.array(low_xyz) - margin, np.array(high_xyz) + margin))

    def everything(self) -> Region:
        """The whole grid as one region."""
        nz, ny, nx = self.shape
        return Region(self, (slice(0, nz), slice(0, ny), slice(0, nx)))


class Region:
    """A box of the scene with its coordinates, on which signed distances are computed."""

    def __init__(self, scene: Scene, box: Box) -> None:
        self.scene = scene
        self.box = box
        self.z, self.y, self.x = scene.z[box], scene.y[box], scene.x[box]
        self.shape = self.z.shape
        self.empty = 0 in self.shape

    def nothing(self) -> np.ndarray:
        """The distance to an empty shape: `FAR` everywhere."""
        return np.full(self.shape, FAR, np.float32)

    def noise(self, scale_mm: float) -> np.ndarray:
        """Smooth noise of unit variance with a correlation length of 3.5, 8 or 20 mm; different at each call."""
        cube = self.scene._cubes[scale_mm]
        start = self.scene.rng.integers(0, _CUBE, size=3)
        return cube[np.ix_(*[(s + np.arange(n)) % _CUBE for s, n in zip(start, self.shape, strict=True)])]

    def ellipsoid(self, centre: Point, radii: Point, turn: np.ndarray | None = None) -> np.ndarray:
        """Distance to an ellipsoid; the rows of `turn` (3, 3) are its axes in (x, y, z)."""
        d = (self.x - centre[0], self.y - centre[1], self.z - centre[2])
        if turn is not None:
            d = tuple(np.float32(r[0]) * d[0] + np.float32(r[1]) * d[1] + np.float32(r[2]) * d[2] for r in turn)
        s = [(part / np.float32(r)) for part, r in zip(d, radii, strict=True)]
        k0 = np.sqrt(s[0] ** 2 + s[1] ** 2 + s[2] ** 2)
        k1 = np.sqrt(sum((part / np.float32(r)) ** 2 for part, r in zip(s, radii, strict=True)))
        return (k0 * (k0 - 1) / np.maximum(k1, 1e-6)).astype(np.float32)

    def tube(self, points: Sequence[Point] | np.ndarray, *, smooth: bool = True, pad: float = 14.0) -> np.ndarray:
        """Distance to a tube along points (x, y, z, radius), rounded by a spline; FAR beyond `pad` from its surface."""
        out = self.nothing()
        if self.empty:
            return out
        path = smooth_path(points) if smooth else np.asarray(points, dtype=float)
        axes = tuple(axis[part] for axis, part in zip(self.scene.axes, self.box, strict=True))
        for a, b in pairwise(path):
            self._stamp_segment(out, axes, a, b, pad)
        return out

    def _stamp_segment(
        self, out: np.ndarray, axes: tuple[np.ndarray, ...], a: np.ndarray, b: np.ndarray, pad: float
    ) -> None:
        margin = max(a[3], b[3]) + pad + self.scene.reach
        sub = _box(axes, np.minimum(a, b)[:3] - margin, np.maximum(a, b)[:3] + margin)
        if any(part.start == part.stop for part in sub):
            return
        step = (b[:3] - a[:3]).astype(np.float32)
        dx = self.x[sub] - np.float32(a[0])
        dy = self.y[sub] - np.float32(a[1])
        dz = self.z[sub] - np.float32(a[2])
        t = (dx * step[0] + dy * step[1] + dz * step[2]) / np.float32(max(float(step @ step), 1e-6))
        np.clip(t, 0, 1, out=t)
        dx -= t * step[0]
        dy -= t * step[1]
        dz -= t * step[2]
        distance = np.sqrt(dx * dx + dy * dy + dz * dz)
        distance -= np.float32(a[3]) + t * np.float32(b[3] - a[3])
        np.minimum(out[sub], distance, out=out[sub])

    def cavity(self) -> np.ndarray:
        """Distance to the inside of the trunk wall."""
        return self.scene.cavity[self.box]

    def abdomen(self) -> np.ndarray:
        """Distance to the inside of the abdomen: within the wall and below the diaphragm."""
        return self.scene.abdomen[self.box]

    def labels(self) -> np.ndarray:
        """A view of the labels in this region."""
        return self.scene.labels[self.box]

    def hu(self) -> np.ndarray:
        """A view of the HU in this region."""
        return self.scene.hu[self.box]

    def confined(self, distance: np.ndarray, *, gap: float = 0.5) -> np.ndarray:
        """Restrict a shape to the abdomen, outside of bones and muscles."""
        return np.maximum(np.maximum(distance, self.abdomen() + gap), gap - self.scene.barrier[self.box])

    def paint(
        self, distance: np.ndarray, hu: np.ndarray | float, label: int | None = None, *, loose: float = 0.0
    ) -> None:
        """Blend in `hu` with a one-voxel soft edge, and label the inside (0 erases labels, None keeps them).

        `loose`: mm that the label extends beyond the edge, as annotators outline thin and lobed structures.
        """
        if self.empty:
            return
        alpha = np.clip(0.5 - distance / np.float32(self.scene.edge), 0, 1)
        view = self.hu()
        view += alpha * (hu - view)
        if label is not None:
            self.labels()[distance < loose] = label

    def bar(self, distance: np.ndarray) -> None:
        """Add a shape to the barrier that organs must not enter."""
        view = self.scene.barrier[self.box]
        np.minimum(view, distance, out=view)


def _box(axes: tuple[np.ndarray, ...], low_xyz: np.ndarray, high_xyz: np.ndarray) -> Box:
    """The index ranges of ascending axes (z, y, x) between two corners."""
    parts = []
    for axis, lo, hi in zip(axes, low_xyz[::-1], high_xyz[::-1], strict=True):
        first, last = np.searchsorted(axis, [lo, hi])
        parts.append(slice(int(first), int(max(first, last))))
    return parts[0], parts[1], parts[2]
