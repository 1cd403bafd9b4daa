"""Uniform cubic B-splines in space: what is smooth, from a few control points, at every voxel of a patch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.volume import Index


def spline(control: NDArray[np.float64], patch_zyx: Index, device: torch.device) -> torch.Tensor:
    """(z * y, x * channels) float32: the spline with the control points (kz, ky, kx, channels) at every voxel."""
    kz, ky, kx, channels = control.shape
    # Double precision on a GPU, whose matrix units may be set to less than single; elsewhere single is exact enough.
    kind = torch.float64 if device.type == "cuda" else torch.float32
    part = torch.from_numpy(np.ascontiguousarray(control)).to(kind).to(device)
    z, y, x = patch_zyx
    part = _basis(z, kz, 1, device, kind).T @ part.view(kz, -1)
    part = _basis(y, ky, 1, device, kind).T @ part.view(z, ky, kx * channels)
    return (part.view(z * y, kx * channels) @ _basis(x, kx, channels, device, kind)).float()


@lru_cache(maxsize=64)
def _basis(size: int, knots: int, channels: int, device: torch.device, kind: torch.dtype) -> torch.Tensor:
    """(knots * channels, size * channels): the weights of the control points at every voxel of an axis."""
    weights = basis_at((np.arange(size) / max(size - 1, 1)), knots)
    return torch.from_numpy(np.kron(weights.T, np.eye(channels))).to(kind).to(device)


def basis_at(places: NDArray[np.float64], knots: int) -> NDArray[np.float64]:
    """(places, knots) weights of the uniform cubic B-spline at places from 0 to 1."""
    intervals = knots - 3
    distance = np.abs(places[:, None] * intervals - (np.arange(knots) - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far)
