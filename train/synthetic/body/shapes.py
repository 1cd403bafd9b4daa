"""Geometry of the phantom: paths, fillets, rotations. Distances are signed, negative inside, in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

Point = Sequence[float] | np.ndarray
FAR = 60.0


def smooth_path(points: Sequence[Point] | np.ndarray, step_mm: float = 9.0) -> np.ndarray:
    """Resample points (x, y, z, radius) about every `step_mm` along a cubic spline; radii are interpolated linearly."""
    nodes = np.asarray(points, dtype=float)
    if len(nodes) < 3:
        return nodes
    at = np.r_[0, np.cumsum(np.maximum(np.linalg.norm(np.diff(nodes[:, :3], axis=0), axis=1), 1e-3))]
    fine = np.linspace(0, at[-1], max(int(at[-1] / step_mm) + 1, len(nodes)))
    return np.c_[CubicSpline(at, nodes[:, :3])(fine), np.interp(fine, at, nodes[:, 3])]


def blend(a: np.ndarray, b: np.ndarray, roundness: float) -> np.ndarray:
    """Smooth union of two shapes, with a fillet of about `roundness` mm."""
    h = np.clip(0.5 + 0.5 * (b - a) / roundness, 0, 1)
    return b + (a - b) * h - roundness * h * (1 - h)


def smooth_subtract(a: np.ndarray, b: np.ndarray, roundness: float) -> np.ndarray:
    """Smooth difference: shape `a` without shape `b`, with a rounded rim."""
    return -blend(-a, b, roundness)


def near(place: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    """The point at offset (x, y, z) mm from `place`."""
    return place + np.array([x, y, z], float)


def turned(rx: float = 0.0, ry: float = 0.0, rz: float = 0.0) -> np.ndarray:
    """Rotation matrix (3, 3) from angles in degrees about x, then y, then z, for `Region.ellipsoid`."""
    a, b, c = np.deg2rad([rx, ry, rz])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x
