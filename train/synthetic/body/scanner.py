"""CT acquisition: thick slices, blur, noise, streak artefacts and the patient table."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def correlated_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], sigma: tuple[float, float, float]
) -> np.ndarray:
    """Gaussian noise of unit variance, float32 (z, y, x), smoothed with `sigma` voxels."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3)
    return noise / max(float(noise.std()), 1e-6)


def acquire(
    hu: np.ndarray, rng: np.random.Generator, spacing_zyx_mm: tuple[float, float, float], *, arms: bool
) -> np.ndarray:
    """Simulate the acquisition: slice thickness, blur, noise, streaks and calibration error; int16 (z, y, x)."""
    if rng.random() < 0.35:
        hu = thick_slices(hu, rng.uniform(1.3, 3.0))
    hu = _blurred(hu, rng, spacing_zyx_mm)
    hu *= rng.normal(1.0, 0.01)
    hu += _noise(hu, rng, spacing_zyx_mm)
    if arms or rng.random() < 0.2:
        hu += _side_streaks(hu.shape, rng, strong=arms)
    if rng.random() < 0.04:
        hu += _metal_streaks(hu.shape, rng)
    if rng.random() < 0.15:
        _cut_to_circle(hu)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def thick_slices(hu: np.ndarray, voxels: float) -> np.ndarray:
    """Simulate slices `voxels` (more than 1) times as thick as those of the grid, resampled to the grid.

    A thick slice is the mean over its extent; values between slice centres are interpolated, as when a CT is resampled
    to thinner slices.
    """
    count = hu.shape[0]
    number = max(round(count / voxels), 1)
    edges = np.linspace(0, count, number + 1)
    sums = np.concatenate([np.zeros((1, *hu.shape[1:]), np.float32), np.cumsum(hu, axis=0, dtype=np.float32)])
    whole = np.minimum(edges.astype(int), count - 1)
    at_edges = sums[whole] + (edges - whole).astype(np.float32)[:, None, None] * hu[whole]
    thick = np.diff(at_edges, axis=0) / np.float32(count / number)
    place = np.clip((np.arange(count) + 0.5) * number / count - 0.5, 0, number - 1)
    below = np.minimum(place.astype(int), max(number - 2, 0))
    part = (place - below).astype(np.float32)[:, None, None]
    above = np.minimum(below + 1, number - 1)
    return thick[below] * (1 - part) + thick[above] * part


def _blurred(hu: np.ndarray, rng: np.random.Generator, spacing_zyx_mm: tuple[float, float, float]) -> np.ndarray:
    """Gaussian blur of slice thickness (sigma 0.5 to 2.2 mm along z) and kernel (sigma 0.5 to 1.6 mm in-plane)."""
    along = rng.choice([0.5, 1.2, 2.2], p=[0.45, 0.4, 0.15])
    within = rng.uniform(0.5, 1.6)
    sigma = [length / step for length, step in zip((along, within, within), spacing_zyx_mm, strict=True)]
    return ndimage.gaussian_filter(hu, sigma, truncate=3)


def _noise(hu: np.ndarray, rng: np.random.Generator, spacing_zyx_mm: tuple[float, float, float]) -> np.ndarray:
    """Quantum noise, strongest in the centre of the patient, which fewest photons reach."""
    strength = float(np.exp(rng.uniform(np.log(4), np.log(28))))
    grain_mm = rng.uniform(0.6, 2.2)
    sigma = (rng.uniform(0, 0.5), grain_mm / spacing_zyx_mm[1], grain_mm / spacing_zyx_mm[2])
    noise = correlated_noise(rng, hu.shape, sigma)
    y = np.linspace(-1, 1, hu.shape[1], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, hu.shape[2], dtype=np.float32)[None]
    noise *= strength * (0.55 + 0.6 * np.exp(-2.2 * (x * x + y * y)))
    return noise


def _cut_to_circle(hu: np.ndarray) -> None:
    """Pad outside the circular field of view, as some scanners do."""
    y = np.arange(hu.shape[1], dtype=np.float32)[:, None] - (hu.shape[1] - 1) / 2
    x = np.arange(hu.shape[2], dtype=np.float32)[None] - (hu.shape[2] - 1) / 2
    hu[:, np.hypot(y, x) > max(hu.shape[1:]) / 2] = -1024


def _side_streaks(shape: tuple[int, ...], rng: np.random.Generator, *, strong: bool) -> np.ndarray:
    """Photon starvation artefacts at arms, shoulders or hips: streaks along x in a band of slices."""
    streaks = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (0.3, 0.6, 14), truncate=2)
    streaks /= streaks.std()
    z = np.arange(shape[0], dtype=np.float32)
    band = np.exp(-0.5 * ((z - rng.uniform(0, shape[0])) / rng.uniform(8, 30)) ** 2)
    return streaks * (band * rng.uniform(4, 22 if strong else 10))[:, None, None]


def _metal_streaks(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Metal artefact of a clip or an implant: radial streaks in a few slices."""
    centre = [rng.uniform(0.2, 0.8) * n for n in shape]
    y = np.arange(shape[1], dtype=np.float32)[:, None] - centre[1]
    x = np.arange(shape[2], dtype=np.float32)[None] - centre[2]
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    rays = sum(np.cos(k * angle + rng.uniform(0, 6.28)) for k in rng.integers(3, 17, size=5))
    star = 90 * rays * np.exp(-distance / 18)
    z = np.arange(shape[0], dtype=np.float32)
    return np.exp(-0.5 * ((z - centre[0]) / 1.5) ** 2)[:, None, None] * star[None]


def add_table(hu: np.ndarray, rng: np.random.Generator, spacing_zyx_mm: tuple[float, float, float]) -> None:
    """Add a curved or angular table top below the back; in place, only in air voxels."""
    if rng.random() < 0.12:
        return
    rows = np.flatnonzero((hu[:: max(len(hu) // 8, 1)] > -300).any(axis=(0, 2)))
    if len(rows) == 0:
        return
    y = np.arange(hu.shape[1], dtype=np.float32)[:, None] * spacing_zyx_mm[1]
    x = np.abs(np.arange(hu.shape[2], dtype=np.float32)[None] - hu.shape[2] / 2) * spacing_zyx_mm[2]
    gap = rng.uniform(2, 10)
    rise = x * x / rng.uniform(1500, 6000) if rng.random() < 0.7 else 0.5 * np.maximum(x - rng.uniform(60, 110), 0)
    depth = y - rows[-1] * spacing_zyx_mm[1] - gap + rise  # depth below the table surface
    depth = np.where(x < rng.uniform(190, 260), depth, 999)
    thick = rng.uniform(12, 45)
    shell = np.minimum(np.abs(depth), np.abs(depth - thick)) < max(rng.uniform(0.8, 2.0), 0.6 * spacing_zyx_mm[1])
    foam = (depth > 0) & (depth < thick)
    table = np.where(shell, rng.uniform(-500, 250), np.where(foam, rng.uniform(-980, -900), -1000.0))
    np.maximum(hu, table.astype(np.float32)[None], out=hu, where=hu < -700)
