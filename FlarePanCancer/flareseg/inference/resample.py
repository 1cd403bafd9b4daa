"""From the CT's grid to the network's and back, equal to nnU-Net's resampling but as small matrices.

Interpolation along one axis is linear in the samples, so it is a matrix; that matrix is what interpolating the columns
of an identity gives. A volume is then three matrix products, which run at the speed of the hardware on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.model.plan import ResamplingRule
from flareseg.progress import Progress
from flareseg.volume import Index, Triple

ANISOTROPY_THRESHOLD = 3.0
SLAB_BYTES = 64 * 2**20


def target_shape(shape_zyx: Index, spacing_zyx_mm: Triple, target_spacing_zyx_mm: Triple) -> Index:
    """Voxels per axis after resampling, at least one."""
    z, y, x = (
        max(1, round(size * mm / target))
        for size, mm, target in zip(shape_zyx, spacing_zyx_mm, target_spacing_zyx_mm, strict=True)
    )
    return z, y, x


def nearest_axis(rule: ResamplingRule, spacing_zyx_mm: Triple, target_spacing_zyx_mm: Triple) -> int | None:
    """The axis along which nnU-Net takes the nearest slice instead of interpolating, or None.

    That is the coarsest axis of the original spacing where it is anisotropic by more than 3, else that of the target
    spacing where that one is; none where two axes are equally coarse.
    """
    if rule == "isotropic":
        return None
    for spacing in (spacing_zyx_mm, target_spacing_zyx_mm):
        if rule == "separate_z" or max(spacing) / min(spacing) > ANISOTROPY_THRESHOLD:
            coarsest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


@lru_cache(maxsize=64)
def interpolation_matrix(size_in: int, size_out: int, order: int) -> NDArray[np.float32]:
    """(size_out, size_in) matrix that resamples along one axis, aligned at the outer edges of the first and last voxel.

    Args:
        order: spline order; 0 nearest, 1 linear, 3 cubic. Borders repeat.
    """
    if size_in == size_out:
        return np.eye(size_in, dtype=np.float32)
    if order == 0:
        centres = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
        nearest = np.clip(np.floor(centres + 0.5).astype(int), 0, size_in - 1)
        return np.eye(size_in, dtype=np.float32)[nearest]
    if size_in == 1:
        return np.ones((size_out, 1), np.float32)
    zoomed = ndimage.zoom(
        np.eye(size_in), (size_out / size_in, 1), order=order, mode="nearest", grid_mode=True, prefilter=True
    )
    return np.ascontiguousarray(zoomed, dtype=np.float32)


def resample_image(
    hu: NDArray[Any],
    spacing_zyx_mm: Triple,
    target_spacing_zyx_mm: Triple,
    rule: ResamplingRule,
    device: torch.device,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Cubic interpolation to the network's grid, a few slices at a time so that the original never becomes float.

    Args:
        hu: (z, y, x) int16 or float32.
        rule: see `Plan.resampling`.
        device: where the products run and the result stays.

    Returns:
        (z, y, x) float32 HU on `device`, within the range of the input's values.
    """
    shape: Index = (hu.shape[0], hu.shape[1], hu.shape[2])
    out = target_shape(shape, spacing_zyx_mm, target_spacing_zyx_mm)
    nearest = nearest_axis(rule, spacing_zyx_mm, target_spacing_zyx_mm)
    along_z, along_y, along_x = (
        torch.from_numpy(interpolation_matrix(n, m, 0 if axis == nearest else 3)).to(device)
        for axis, (n, m) in enumerate(zip(shape, out, strict=True))
    )
    in_plane = torch.empty((shape[0], out[1], out[2]), device=device)
    low, high = np.inf, -np.inf
    slices = max(1, SLAB_BYTES // (4 * shape[1] * shape[2]))
    for start in range(0, shape[0], slices):
        part = np.ascontiguousarray(hu[start : start + slices])
        low, high = min(low, part.min()), max(high, part.max())
        slab = torch.from_numpy(part).to(device).float()
        in_plane[start : start + slices] = along_y @ slab @ along_x.T
        if progress:
            progress.update(start / shape[0])
    result = (along_z @ in_plane.flatten(1)).view(out)
    # Cubic interpolation overshoots at edges; the reference clips to the range of the input.
    return result.clamp_(float(low), float(high))


def logits_to_labels(
    logits: torch.Tensor,
    out_shape_zyx: Index,
    nearest: int | None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Linear interpolation of every class to the CT's grid and the class that wins there, without ever holding all of
    the classes on that grid.

    The grid is worked off in tiles. A class whose highest logit around a tile is below the lowest of another class
    cannot win inside it, because interpolated values lie between their neighbours: it is left out, and a tile with
    one class left is filled. The result is the same as interpolating everything.

    Args:
        logits: (classes, z, y, x) on the network's grid, any float type and device.
        out_shape_zyx: of the CT's grid.
        nearest: the axis that `nearest_axis` named for the way back, or None.

    Returns:
        (z, y, x) uint8 class numbers.
    """
    axes = [
        _Axis.of(size_in, size_out, nearest == axis, _TILE_OUT[axis], logits.device)
        for axis, (size_in, size_out) in enumerate(zip(logits.shape[1:], out_shape_zyx, strict=True))
    ]
    labels = np.zeros(out_shape_zyx, np.uint8)
    for done, (z_out, z_in) in enumerate(axes[0].tiles):
        slab = logits[:, z_in].float()
        along_z = axes[0].matrix[z_out, z_in]
        low, high = slab.amin(1), slab.amax(1)
        for y_out, y_in in axes[1].tiles:
            for x_out, x_in in axes[2].tiles:
                floor = low[:, y_in, x_in].amin((1, 2)).max()
                candidates = (high[:, y_in, x_in].amax((1, 2)) >= floor).nonzero()[:, 0]
                if len(candidates) == 1:
                    labels[z_out, y_out, x_out] = int(candidates)
                    continue
                tile = slab[candidates][:, :, y_in, x_in]
                along_y, along_x = axes[1].matrix[y_out, y_in], axes[2].matrix[x_out, x_in]
                labels[z_out, y_out, x_out] = _winner(tile, along_z, along_y, along_x, candidates).cpu().numpy()
        if progress:
            progress.update((done + 1) / len(axes[0].tiles))
    return labels


_TILE_OUT = (8, 64, 64)


@dataclass(frozen=True)
class _Axis:
    """Interpolation along one axis, cut into tiles: which outputs, and which inputs they need."""

    matrix: torch.Tensor
    tiles: list[tuple[slice, slice]]

    @classmethod
    def of(cls, size_in: int, size_out: int, nearest: bool, tile: int, device: torch.device) -> _Axis:
        matrix = interpolation_matrix(size_in, size_out, 0 if nearest else 1)
        tiles = []
        for start in range(0, size_out, tile):
            out = slice(start, min(start + tile, size_out))
            used = np.flatnonzero(matrix[out].any(axis=0))
            tiles.append((out, slice(int(used[0]), int(used[-1]) + 1)))
        return cls(torch.from_numpy(matrix).to(device), tiles)


def _winner(
    tile: torch.Tensor, along_z: torch.Tensor, along_y: torch.Tensor, along_x: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """Interpolate (k, z, y, x) to the tile's outputs and name the class with the highest value, the first of equals.

    A running maximum, because an argmax over the class axis walks memory against its order and is several times slower.
    """
    fine = (along_z @ tile.flatten(2)).unflatten(2, tile.shape[2:])
    best: torch.Tensor | None = None
    for number, values in zip(classes.tolist(), fine, strict=True):
        value = along_y @ values @ along_x.T
        if best is None:
            best, label = value, torch.full(value.shape, number, dtype=torch.uint8, device=value.device)
        else:
            label.masked_fill_(value > best, number)
            torch.maximum(best, value, out=best)
    return label
