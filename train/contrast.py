"""Grey values of the phantom: Hounsfield units per contrast phase, and what a scanner adds to them.

Nothing here knows a shape; `train.anatomy` asks for "the HU of the spleen in this patient" and `train.phantom` sends
the finished volume through `acquire`.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

PHASES = ("plain", "arterial", "portal", "delayed")
PHASE_WEIGHTS = (0.30, 0.18, 0.38, 0.14)

# Typical HU: plain, arterial, portal venous, delayed; then the standard deviation between patients.
_TABLE: dict[str, tuple[float, float, float, float, float]] = {
    "liver": (56, 68, 106, 92, 8),
    "spleen": (46, 118, 118, 98, 8),
    "pancreas": (38, 98, 92, 76, 9),
    "kidney_cortex": (32, 165, 178, 148, 12),
    "kidney_medulla": (29, 70, 160, 148, 12),
    "aorta": (41, 290, 150, 115, 6),
    "ivc": (39, 75, 125, 112, 8),
    "portal_vein": (40, 105, 158, 118, 8),
    "arteries": (41, 275, 145, 112, 8),
    "adrenal": (22, 62, 70, 55, 9),
    "bile": (9, 9, 10, 10, 7),
    "esophagus_wall": (36, 52, 60, 56, 7),
    "stomach_wall": (36, 68, 76, 66, 9),
    "duodenum_wall": (34, 66, 76, 64, 9),
    "bowel_wall": (33, 70, 82, 66, 10),
    "muscle": (54, 58, 64, 62, 5),
    "heart_wall": (45, 100, 105, 95, 7),
    "heart_blood": (41, 270, 150, 118, 15),
    "urine": (4, 4, 8, 180, 6),
    "renal_pelvis": (5, 6, 25, 330, 10),
    "lesion_poor": (34, 45, 58, 56, 9),
    "lesion_rich": (42, 125, 115, 84, 14),
    "necrosis": (20, 22, 24, 24, 8),
    "disc": (75, 78, 80, 80, 10),
}


def draw_phase(rng: np.random.Generator) -> str:
    """The name of a contrast phase, about 30 % of them plain."""
    return str(rng.choice(PHASES, p=PHASE_WEIGHTS))


def draw_hu(rng: np.random.Generator, phase: str) -> dict[str, float]:
    """HU of every tissue in one patient: the phase's typical values, a patient-wide enhancement, a change per organ.

    Bolus timing differs, so an enhanced scan is drawn some way towards the phase that follows it.
    """
    column = PHASES.index(phase)
    later = min(column + 1, len(PHASES) - 1)
    drift = rng.uniform(0, 0.45) if column else 0.0
    strength = rng.uniform(0.65, 1.3)
    hu = {}
    for name, (*values, sd) in _TABLE.items():
        enhanced = values[column] + drift * (values[later] - values[column])
        if name in ("urine", "renal_pelvis") and phase != "delayed":
            enhanced = values[column]
        hu[name] = values[0] + strength * rng.uniform(0.85, 1.15) * (enhanced - values[0]) + sd * rng.normal()
    hu["fat"] = rng.normal(-104, 6)
    hu["visceral_fat"] = hu["fat"] + rng.uniform(0, 14)
    hu["skin"] = rng.uniform(-20, 40)
    hu["lung"] = rng.uniform(-880, -780)
    hu["cortical_bone"] = rng.uniform(300, 720)
    hu["spongy_bone"] = rng.uniform(70, 190) + (20 if column else 0)
    hu["cartilage"] = rng.uniform(80, 150)
    if rng.random() < 0.22:
        hu["liver"] -= rng.uniform(12, 55)  # steatosis
    if rng.random() < 0.12:
        hu["pancreas"] -= rng.uniform(10, 35)  # fatty pancreas
    return hu


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
    """What a scanner makes of the perfect image: blur, noise, streaks, a small calibration error; int16 (z, y, x)."""
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


def _blurred(hu: np.ndarray, rng: np.random.Generator, spacing_zyx_mm: tuple[float, float, float]) -> np.ndarray:
    """Slice thickness 1-6 mm along z and a kernel of 0.5-1.6 mm in the plane (standard deviations of Gaussians)."""
    along = rng.choice([0.5, 1.2, 2.2], p=[0.45, 0.4, 0.15])
    within = rng.uniform(0.5, 1.6)
    sigma = [length / step for length, step in zip((along, within, within), spacing_zyx_mm, strict=True)]
    return ndimage.gaussian_filter(hu, sigma, truncate=3)


def _noise(hu: np.ndarray, rng: np.random.Generator, spacing_zyx_mm: tuple[float, float, float]) -> np.ndarray:
    """Quantum noise: the patient's middle gets fewest photons, so it is noisiest there."""
    strength = float(np.exp(rng.uniform(np.log(4), np.log(26))))
    grain_mm = rng.uniform(0.6, 2.2)
    sigma = (rng.uniform(0, 0.5), grain_mm / spacing_zyx_mm[1], grain_mm / spacing_zyx_mm[2])
    noise = correlated_noise(rng, hu.shape, sigma)
    y = np.linspace(-1, 1, hu.shape[1], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, hu.shape[2], dtype=np.float32)[None]
    noise *= strength * (0.55 + 0.6 * np.exp(-2.2 * (x * x + y * y)))
    return noise


def _cut_to_circle(hu: np.ndarray) -> None:
    """Scanners reconstruct a disc; some write padding round it."""
    y = np.arange(hu.shape[1], dtype=np.float32)[:, None] - (hu.shape[1] - 1) / 2
    x = np.arange(hu.shape[2], dtype=np.float32)[None] - (hu.shape[2] - 1) / 2
    hu[:, np.hypot(y, x) > max(hu.shape[1:]) / 2] = -1024


def _side_streaks(shape: tuple[int, ...], rng: np.random.Generator, *, strong: bool) -> np.ndarray:
    """Photon starvation between arms, shoulders or hips: streaks along x in a band of slices."""
    streaks = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (0.3, 0.6, 14), truncate=2)
    streaks /= streaks.std()
    z = np.arange(shape[0], dtype=np.float32)
    band = np.exp(-0.5 * ((z - rng.uniform(0, shape[0])) / rng.uniform(8, 30)) ** 2)
    return streaks * (band * rng.uniform(4, 22 if strong else 10))[:, None, None]


def _metal_streaks(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A star of bright and dark rays from a clip or an implant in a few slices."""
    centre = [rng.uniform(0.2, 0.8) * n for n in shape]
    y = np.arange(shape[1], dtype=np.float32)[:, None] - centre[1]
    x = np.arange(shape[2], dtype=np.float32)[None] - centre[2]
    angle, distance = np.arctan2(y, x), np.hypot(y, x)
    rays = sum(np.cos(k * angle + rng.uniform(0, 6.28)) for k in rng.integers(3, 17, size=5))
    star = 90 * rays * np.exp(-distance / 18)
    z = np.arange(shape[0], dtype=np.float32)
    return np.exp(-0.5 * ((z - centre[0]) / 1.5) ** 2)[:, None, None] * star[None]
