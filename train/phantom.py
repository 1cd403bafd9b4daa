"""Labelled synthetic abdomens: what the network sees before, and besides, the few real CTs that may be used.

`make_phantom(seed)` draws one patient and scans it. The patient differs from the next in build, fatness, the size,
place and filling of every organ, the contrast phase, tumours, and in how much of the body the scan shows and how noisy
it is.

Labels are the project's (FLARE): 1 liver, 2 right kidney, 3 spleen, 4 pancreas, 5 aorta, 6 inferior vena cava, 7 right
adrenal gland, 8 left adrenal gland, 9 gallbladder, 10 esophagus, 11 stomach, 12 duodenum, 13 left kidney, 14 tumour,
0 everything else. Renal sinus and pelvis, extrahepatic portal, renal and iliac vessels are 0; vessels and cysts inside
the liver and cysts of the kidneys belong to their organ; hollow organs include their content.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.anatomy import draw_patient
from train.contrast import acquire, draw_phase
from train.shapes import Build, Scene

# What a scan shows: range of its lowest and of its highest z, mm from the middle of L1. A slab may lie anywhere.
_VIEWS = {
    "abdomen": ((-150, -105), (118, 150)),
    "abdomen and pelvis": ((-320, -270), (112, 150)),
    "chest, abdomen and pelvis": ((-310, -260), (190, 250)),
}
_SLAB = "slab"
_VIEW_SHARES = (0.40, 0.28, 0.12, 0.20)


@dataclass(frozen=True)
class Phantom:
    """One synthetic scan; arrays are (z, y, x): z upwards, y from front to back, x from the patient's right to left."""

    hu: np.ndarray
    """int16 Hounsfield units."""
    labels: np.ndarray
    """uint8, see the module's text."""
    spacing_zyx_mm: tuple[float, float, float]
    phase: str
    """plain, arterial, portal or delayed."""
    seed: int


def make_phantom(
    seed: int,
    *,
    spacing_zyx_mm: tuple[float, float, float] = (3.0, 3.0, 3.0),
    phase: str | None = None,
    view: str | None = None,
) -> Phantom:
    """Draw and scan the patient of this seed; the same arguments give the same arrays.

    `phase` and `view` ("abdomen", "abdomen and pelvis", "chest, abdomen and pelvis", "slab") are drawn at random unless
    given; the first three views show all of the abdominal organs.
    """
    rng = np.random.default_rng(seed)
    drawn_phase = draw_phase(rng)
    drawn_view = str(rng.choice([*_VIEWS, _SLAB], p=_VIEW_SHARES))
    phase = phase or drawn_phase
    fat_mm = float(np.exp(rng.normal(np.log(15), 0.55)).clip(4, 48))
    build = _draw_build(rng, fat_mm)
    arms = bool(rng.random() < 0.15)
    low, high = _draw_field(rng, view or drawn_view, build, fat_mm, arms=arms)
    scene = Scene(rng, build, low, high, spacing_zyx_mm, bend_mm=rng.uniform(2.5, 5.5))
    draw_patient(scene, phase, fat_mm, arms=arms)
    hu = scene.hu
    _add_table(hu, rng, spacing_zyx_mm)
    hu = acquire(hu, rng, spacing_zyx_mm, arms=arms)
    return Phantom(hu, scene.labels, spacing_zyx_mm, phase, seed)


def _draw_build(rng: np.random.Generator, fat_mm: float) -> Build:
    """Stretch of the standard adult: fat patients are wider, and most of all deeper in front."""
    stature = rng.normal(1.0, 0.05)
    plump = np.log(fat_mm / 15)
    return Build(
        width=float(np.clip(stature * (1 + 0.07 * plump) * rng.normal(1, 0.03), 0.86, 1.25)),
        front=float(np.clip(stature * (1 + 0.16 * plump) * rng.normal(1, 0.05), 0.78, 1.4)),
        back=float(np.clip(stature * rng.normal(1, 0.03), 0.9, 1.15)),
        height=float(np.clip(stature * rng.normal(1, 0.03), 0.88, 1.14)),
    )


def _draw_field(
    rng: np.random.Generator, view: str, build: Build, fat_mm: float, *, arms: bool
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Lowest and highest (z, y, x) of the scan, mm in the patient's body."""
    if view == _SLAB:
        middle, half = rng.uniform(-60, 90), rng.uniform(35, 85)
        z = (middle - half, middle + half)
    else:
        lows, highs = _VIEWS[view]
        z = (rng.uniform(*lows), rng.uniform(*highs))
    wide = build.width * 150 + fat_mm * 1.2 + (62 if arms else 0)
    front = build.front * 118 + fat_mm * 1.1
    back = build.back * 98 + fat_mm * 1.1
    zoom = rng.choice([-18.0, 8.0, 30.0, 60.0], p=[0.1, 0.4, 0.35, 0.15]) + rng.normal(0, 5)
    aside = rng.normal(0, 6)
    return (
        (z[0] * build.height, -front - zoom, -wide - zoom + aside),
        (z[1] * build.height, back + zoom + 12, wide + zoom + aside),
    )


def _add_table(hu: np.ndarray, rng: np.random.Generator, spacing_zyx_mm: tuple[float, float, float]) -> None:
    """A curved table top a little behind the deepest point of the back; in place, only where there is air."""
    if rng.random() < 0.15:
        return
    rows = np.flatnonzero((hu > -300).any(axis=(0, 2)))
    if len(rows) == 0:
        return
    y = np.arange(hu.shape[1], dtype=np.float32)[:, None] * spacing_zyx_mm[1]
    x = (np.arange(hu.shape[2], dtype=np.float32)[None] - hu.shape[2] / 2) * spacing_zyx_mm[2]
    top = rows[-1] * spacing_zyx_mm[1] + rng.uniform(3, 14)
    depth = y - top + x * x / rng.uniform(500, 4000)
    depth = np.where(np.abs(x) < rng.uniform(190, 240), depth, 99)
    shell = np.abs(depth) < 1.6
    foam = (depth > 1.6) & (depth < rng.uniform(15, 50))
    table = np.where(shell, rng.uniform(-500, 60), np.where(foam, -930.0, -1000.0)).astype(np.float32)
    np.maximum(hu, table[None], out=hu, where=hu < -700)


def main() -> None:
    """`python -m train.phantom FILE [SEED]` writes a synthetic abdomen as a CT and prints its path."""
    import sys

    from flareseg.io.files import write_volume
    from flareseg.volume import Geometry, Volume

    path, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    phantom = make_phantom(seed, spacing_zyx_mm=(3.0, 1.5, 1.5), phase="portal", view="abdomen and pelvis")
    print(write_volume(Volume(phantom.hu, Geometry(phantom.hu.shape, phantom.spacing_zyx_mm)), path, overwrite=True))


if __name__ == "__main__":
    main()
