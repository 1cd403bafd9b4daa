"""Spatial augmentation: rotation, scaling, flips, position and elastic deformation as one sampling grid.

Cubic B-splines reproduce linear functions, so the whole transform, including its affine part, is one spline with a few
control points. They are drawn with NumPy when the patch is read from the cache. The sampling grid, needed on the
device, is then a matrix product. Image (linear) and labels (nearest) are interpolated only once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from flareseg.volume import Box, Index, Triple
from train.augmentation.spline import basis_at, spline
from train.data.index import IGNORE
from train.fit_config import AugmentConfig
from train.net_config import AIR_HU

KNOTS_MM = 50.0
"""Approximate spacing of the control points of the elastic deformation."""
SAME = 0.02
"""Relative tolerance within which two spacings count as equal."""
_SPREAD = 0.33
"""Standard deviation of a cubic B-spline with control points of unit variance."""
_PROBES = 17
_MARGIN = 2


@dataclass(frozen=True)
class Pose:
    """The transform from patch to case.

    Voxel p of the patch, relative to its centre, maps to centre + matrix @ p + bend(p), in voxels of the case.

    Attributes:
        matrix: (3, 3), voxels of the patch to voxels of the case, both (z, y, x); flips included.
        bend_zyx: (kz, ky, kx, 3) control points of the elastic displacement, voxels of the case; None: affine.
        flipped: per axis z, y, x.
        centre_zyx: voxel of the case, fractional.
    """

    matrix: NDArray[np.float64]
    bend_zyx: NDArray[np.float64] | None
    flipped: tuple[bool, bool, bool]
    centre_zyx: NDArray[np.float64]

    @property
    def is_crop(self) -> bool:
        """Whether no interpolation is needed: no rotation, scaling or deformation, but possibly flips."""
        return bool(self._cropped_axes().all())

    def extent(self, patch_zyx: Index) -> NDArray[np.float64]:
        """Extent of the patch in voxels of the case along z, y and x."""
        return np.linalg.norm(self.matrix * np.asarray(patch_zyx), axis=1)

    def at(self, centre_zyx: NDArray[Any], patch_zyx: Index) -> Pose:
        """The same pose at another centre; axes that are only cropped are aligned to the voxel grid."""
        centre, half = np.asarray(centre_zyx, np.float64), (np.asarray(patch_zyx) - 1) / 2
        return replace(self, centre_zyx=np.where(self._cropped_axes(), np.floor(centre - half + 0.5) + half, centre))

    def _cropped_axes(self) -> NDArray[np.bool_]:
        """Which axes of the case run along those of the patch, voxel for voxel."""
        if self.bend_zyx is not None:
            return np.zeros(3, bool)
        as_it_is = np.abs(self.matrix) == np.eye(3)
        return as_it_is.all(axis=0) & as_it_is.all(axis=1)

    def control(self, patch_zyx: Index) -> NDArray[np.float64]:
        """Control points (kz, ky, kx, 3) of the whole transform, in voxels of the case."""
        knots = (4, 4, 4) if self.bend_zyx is None else self.bend_zyx.shape[:3]
        axes = [(n - 1) * ((np.arange(k) - 1) / (k - 3) - 0.5) for n, k in zip(patch_zyx, knots, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ self.matrix.T + self.centre_zyx
        return points if self.bend_zyx is None else points + self.bend_zyx

    def box(self, patch_zyx: Index, shape_zyx: Index) -> Box:
        """Bounding box of the patch in the case; at least one voxel along each axis."""
        if self.is_crop:
            low = np.rint(self.centre_zyx - (np.asarray(patch_zyx) - 1) / 2)
            high = low + patch_zyx
        else:
            places = self.control(patch_zyx)
            for axis, knots in enumerate(places.shape[:3]):
                weights = basis_at(np.linspace(0, 1, _PROBES), knots)
                places = np.moveaxis(np.tensordot(weights, places, (1, axis)), 0, axis)
            low = np.floor(places.min((0, 1, 2))) - _MARGIN
            high = np.ceil(places.max((0, 1, 2))) + _MARGIN + 1
        shape = np.asarray(shape_zyx)
        start = np.clip(low, 0, shape - 1).astype(int)
        stop = np.clip(high, start + 1, shape).astype(int)
        z, y, x = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return z, y, x

    def shows(self, points_zyx: NDArray[Any], patch_zyx: Index) -> NDArray[np.bool_]:
        """Which voxels (n, 3) of the case lie well inside the patch, ignoring the elastic deformation."""
        inner = (np.asarray(points_zyx) - self.centre_zyx) @ np.linalg.inv(self.matrix).T
        return (np.abs(inner) < 0.45 * np.asarray(patch_zyx)).all(axis=1)


def draw_pose(
    case_spacing_zyx_mm: Triple,
    spacing_zyx_mm: Triple,
    patch_zyx: Index,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> Pose:
    """Draw a pose without its centre, see `Pose.at`.

    Args:
        case_spacing_zyx_mm: of the case. If it differs from the patch's only by rounding to whole voxels, it counts as
            equal, as in inference.
        spacing_zyx_mm: of the patch.
        patch_zyx: patch size.
        config: rotation, scale, elastic deformation and flips.
        rng: of this patch.
    """
    scale = np.exp(rng.uniform(-1, 1) * config.scale + rng.uniform(-1, 1, 3) * config.scale_per_axis)
    turn = rotation(np.radians(rng.uniform(-1, 1, 3) * config.rotation_degrees))
    flipped = rng.random(3) < config.mirrored_zyx
    pose = affine_pose(case_spacing_zyx_mm, spacing_zyx_mm, turn, scale, flipped)
    if config.elastic_mm > 0:
        knots = [max(1, round(n * mm / KNOTS_MM)) + 3 for n, mm in zip(patch_zyx, spacing_zyx_mm, strict=True)]
        deviation_mm = rng.uniform(0, config.elastic_mm) / _SPREAD
        case_spacing = _case_spacing(case_spacing_zyx_mm, spacing_zyx_mm)
        pose = replace(pose, bend_zyx=rng.standard_normal((*knots, 3)) * (deviation_mm / case_spacing))
    return pose


def affine_pose(
    case_spacing_zyx_mm: Triple,
    spacing_zyx_mm: Triple,
    turn: NDArray[np.float64],
    scale: NDArray[np.float64],
    flipped: NDArray[np.bool_],
) -> Pose:
    """A pose without bend and centre.

    Args:
        case_spacing_zyx_mm, spacing_zyx_mm: as in `draw_pose`.
        turn: rotation matrix (3, 3) of (z, y, x) vectors in mm.
        scale: of the patch along z, y and x; above 1 it shows more of the patient.
        flipped: per axis z, y, x.
    """
    case_spacing, spacing = _case_spacing(case_spacing_zyx_mm, spacing_zyx_mm), np.asarray(spacing_zyx_mm)
    matrix = turn * (scale * spacing * np.where(flipped, -1.0, 1.0)) / case_spacing[:, None]
    z, y, x = (bool(flip) for flip in flipped)
    return Pose(matrix, None, (z, y, x), np.zeros(3))


def _case_spacing(case_spacing_zyx_mm: Triple, spacing_zyx_mm: Triple) -> NDArray[np.float64]:
    """The spacing of the case, or that of the patch where the two are the same but for rounding."""
    case_spacing, spacing = np.asarray(case_spacing_zyx_mm), np.asarray(spacing_zyx_mm)
    return np.where(np.abs(case_spacing / spacing - 1) < SAME, spacing, case_spacing)


def read_patch(
    hu: torch.Tensor, labels: torch.Tensor | None, pose: Pose, patch_zyx: Index
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Sample image and labels of a patch.

    Args:
        hu: (z, y, x) int16 or float32, the part of the case that the patch needs.
        labels: uint8, same shape, or None.
        pose: with its centre in voxels of `hu`.
        patch_zyx: patch size.

    Returns:
        HU as float32 (linear interpolation) and labels (nearest neighbour); air and 255 outside the case.
    """
    if pose.is_crop:
        return _cropped(hu, labels, pose, patch_zyx)
    grid, slices = _map(pose, patch_zyx, hu.shape, hu.device)
    within = slices - slices.floor()
    # Both are offset so that zero padding means air and "unknown".
    below, above = _sampled(hu, -AIR_HU, grid, "bilinear")
    image = torch.lerp(below, above, within).add_(AIR_HU)
    if labels is None:
        return image, None
    per_slice = 2 / (hu.shape[0] + 2)
    grid[..., 1].add_(within.round_(), alpha=per_slice)
    target = _sampled(labels + 1, 0.0, grid, "nearest")[0]
    return image, target.to(torch.uint8).sub_(1)


def _map(
    pose: Pose, patch_zyx: Index, shape_zyx: Sequence[int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sampling grid for `_sampled`.

    Returns:
        (z, y, x, 2): x and row in the stacked 2D image, in the slice below, from -1 to 1 edge to edge; and (z, y, x):
        the fractional slice.
    """
    z, y, x = patch_zyx
    depth, height, width = shape_zyx
    control = pose.control(patch_zyx)
    rows = (depth + 2) * (height + 2)
    control[..., 0] += 1
    control[..., 1] = (2 * control[..., 1] + 3) / rows - 1
    control[..., 2] = (2 * control[..., 2] + 1) / width - 1
    slices = spline(control[..., :1], patch_zyx, device).view(z, y, x).clamp_(0, depth + 1)
    grid = spline(control[..., :0:-1], patch_zyx, device).view(z, y, x, 2)
    row = grid[..., 1]
    row.clamp_(1 / rows - 1, (2 * height + 3) / rows - 1)
    row.add_(slices.floor(), alpha=2 / (depth + 2))
    return grid, slices


def _sampled(volume: torch.Tensor, shift: float, grid: torch.Tensor, mode: str) -> torch.Tensor:
    """Sample `volume` + `shift` in the slices below and above each voxel (2, z, y, x), or for "nearest" in the one
    below.

    The volume is viewed as one tall 2D image: its slices, each padded with rows of zeros, are stacked vertically. The
    slices above are a second channel, which is a view without extra memory. 2D sampling is vectorised on the CPU,
    several times as fast as 3D sampling, and exact to some thousandths of a voxel.
    """
    depth, height, width = volume.shape
    slices = torch.empty((depth + 3, height + 2, width), device=volume.device)
    for border in (slices[:1], slices[-2:], slices[:, :1], slices[:, -1:]):
        border.zero_()
    torch.add(volume, shift, out=slices[1:-2, 1:-1])
    rows, area = (depth + 2) * (height + 2), (height + 2) * width
    channels = 1 if mode == "nearest" else 2
    # On a CPU, grid_sample is parallel over the batch only, so split along z.
    z, y, x, _ = grid.shape
    parts = math.gcd(z, torch.get_num_threads()) if grid.device.type == "cpu" else 1
    picture = slices.as_strided((parts, channels, rows, width), (0, area, width, 1))
    split = grid.view(parts, z // parts * y, x, 2)
    read = F.grid_sample(picture, split, mode=mode, padding_mode="zeros", align_corners=False)
    return read.transpose(0, 1).reshape(channels, z, y, x)


def _cropped(
    hu: torch.Tensor, labels: torch.Tensor | None, pose: Pose, patch_zyx: Index
) -> tuple[torch.Tensor, torch.Tensor | None]:
    corner = np.rint(pose.centre_zyx - (np.asarray(patch_zyx) - 1) / 2).astype(int)
    padding: list[int] = []
    for start, size, length in zip(corner[::-1], hu.shape[::-1], patch_zyx[::-1], strict=True):
        padding += [-int(start), int(start) + length - size]  # negative padding crops
    axes = [axis for axis, flip in enumerate(pose.flipped) if flip]
    image = F.pad(hu.float(), padding, value=AIR_HU).flip(axes)
    return image, None if labels is None else F.pad(labels, padding, value=IGNORE).flip(axes)


def rotation(angles_zyx: NDArray[Any]) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) of (z, y, x) vectors: about z, then y, then x."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles_zyx):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix
