"""Uniform cubic B-splines in 3D, evaluated at every voxel of a patch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.volume import Index


def spline(control: NDArray[np.float64], patch_zyx: Index, device: torch.device) -> torch.Tensor:
    """Evaluate the spline with control points (kz, ky, kx, channels): float32 (z * y, x * channels)."""
    kz, ky, kx, channels = control.shape
    # Double precision on a GPU, where TF32 may be enabled; elsewhere single precision is sufficient.
    kind = torch.float64 if device.type == "cuda" else torch.float32
    part = torch.from_numpy(np.ascontiguousarray(control)).to(kind).to(device)
    z, y, x = patch_zyx
    part = _basis(z, kz, 1, device, kind).T @ part.view(kz, -1)
    part = _basis(y, ky, 1, device, kind).T @ part.view(z, ky, kx * channels)
    return (part.view(z * y, kx * channels) @ _basis(x, kx, channels, device, kind)).float()


@lru_cache(maxsize=64)
def _basis(size: int, knots: int, channels: int, device: torch.device, kind: torch.dtype) -> torch.Tensor:
    """Weights of the control points at every voxel of an axis: (knots * channels, size * channels)."""
    weights = basis_at((np.arange(size) / max(size - 1, 1)), knots)
    return torch.from_numpy(np.kron(weights.T, np.eye(channels))).to(kind).to(device)


def basis_at(places: NDArray[np.float64], knots: int) -> NDArray[np.float64]:
    """Weights (places, knots) of the uniform cubic B-spline at positions from 0 to 1."""
    intervals = knots - 3
    distance = np.abs(places[:, None] * intervals - (np.arange(knots) - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far)
