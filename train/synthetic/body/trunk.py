"""Trunk of the phantom: skin, fat, muscles and arms around the organs.

All of it is background, but it gives the organs realistic surroundings.
"""

from __future__ import annotations

import numpy as np

from train.synthetic.body.bones import paint_bone
from train.synthetic.body.patient import Patient
from train.synthetic.body.scene import Region, Scene
from train.synthetic.body.shapes import blend, smooth_subtract

# Inner surface of the trunk wall: z, half width, front (-y), back (+y), muscle thickness; mm.
TRUNK = np.array(
    [
        (-330, 112, 62, 70, 34),
        (-280, 116, 70, 72, 34),
        (-220, 118, 82, 66, 30),
        (-165, 122, 92, 52, 20),
        (-120, 120, 98, 44, 15),
        (-60, 122, 102, 44, 14),
        (0, 128, 104, 54, 12),
        (60, 131, 106, 70, 11),
        (120, 131, 105, 76, 12),
        (180, 124, 94, 72, 16),
        (240, 104, 74, 58, 26),
        (300, 76, 52, 50, 45),
    ],
    dtype=np.float32,
)


def draw_trunk(scene: Scene, patient: Patient) -> None:
    """Draw skin, subcutaneous fat, wall muscles and visceral fat; sets the distance to the cavity."""
    region, hu, rng = scene.everything(), patient.hu, scene.rng
    z, half, front, back, muscle = TRUNK.T
    at = scene.axes[0]
    a, f, b, m = (np.interp(at, z, column).astype(np.float32)[:, None, None] for column in (half, front, back, muscle))
    middle = (b - f) / 2
    dy = region.y - middle
    patient.roundness = float(rng.uniform(2.2, 2.8)), float(rng.uniform(2.9, 3.8))
    n = np.where(dy < 0, np.float32(patient.roundness[0]), np.float32(patient.roundness[1]))
    power = np.power(np.abs(region.x) / a, n) + np.power(np.abs(dy) / ((f + b) / 2), n)
    radius = np.hypot(region.x, dy)
    scene.cavity = (radius * (1 - np.power(np.maximum(power, 1e-6), -1 / n))).astype(np.float32)
    outline = scene.cavity
    scene.cavity = _without_back_muscles(region, scene.cavity)
    behind = np.clip(dy / np.maximum(radius, 1), 0, 1)
    before = np.clip(-dy / np.maximum(radius, 1), 0, 1)
    # Back muscles: wide at the lumbar spine, narrow at the chest, with a furrow over the spine.
    flat_back = 24 * np.clip((behind - 0.25) / 0.5, 0, 1) - 7 * np.exp(-((region.x / 14) ** 2)) * (behind > 0.5)
    broad = np.interp(at, (-200, -40, 60, 130), (70, 66, 54, 48)).astype(np.float32)[:, None, None]
    aside = np.interp(at, (-120, 0, 60), (0.3, 0.2, 0.06)).astype(np.float32)[:, None, None]
    beside_spine = aside + (1 - aside) * np.exp(-((region.x / broad) ** 4))
    covered = outline - m * (1 - 0.35 * before**4)
    muscle_outer = covered - flat_back * beside_spine
    scene.flesh = muscle_outer
    lumbar = np.exp(-(((region.z + 90) / 110) ** 2))
    fat = patient.fat_mm * (0.75 + 0.55 * lumbar) * (1 + 0.3 * behind**2) + 2
    hips = np.clip(-(region.z + 120) / 60, 0, 1) * (1 - before)
    fat = fat * (1 + (0.45 if patient.female else 0.1) * hips)
    hull = covered - 0.85 * flat_back * (0.3 + 0.7 * np.exp(-((region.x / 88) ** 4)))  # skin bridges the furrow
    skin = np.minimum(hull, muscle_outer) - fat + 1.5 * region.noise(20.0)
    tissue = None
    if patient.female:
        skin, tissue = _with_breasts(region, patient, skin)
    if patient.person.arms:
        draw_arms(scene, patient)
    region.paint(skin, hu["skin"], 0)
    region.paint(skin + rng.uniform(1.5, 2.5), hu["fat"] + 6 * region.noise(8.0))
    if tissue is not None:
        strands = rng.uniform(0.2, 1.6) - region.noise(8.0)
        region.paint(np.maximum(tissue + 14, np.maximum(2 * strands, muscle_outer * -1 + 4)), hu["muscle"] - 25)
    marbled = hu["muscle"] - np.clip(rng.uniform(6, 26) * (region.noise(8.0) + 0.3), 0, 70)
    layers = np.abs(outline / m - 0.4) - 0.06  # fat planes between the abdominal wall muscles
    region.paint(muscle_outer + 1.0 * region.noise(20.0), marbled)
    flank = np.maximum(layers * m, np.maximum(before, behind) * 40 - 32)
    region.paint(flank, 0.5 * (hu["fat"] + hu["muscle"]))
    strands = rng.uniform(0, 55) * np.clip(region.noise(3.5) - 1.3, 0, 1.5)
    region.paint(scene.cavity, hu["visceral_fat"] + 7 * region.noise(8.0) + strands)
    navel = region.ellipsoid((rng.normal(0, 4), -1.0 * np.interp(-105, z, front) - 24, -105), (3, 22, 4))
    region.paint(np.maximum(navel, skin), hu["muscle"])
    scene.abdomen = scene.cavity.copy()


def _with_breasts(region: Region, patient: Patient, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the skin with breasts, and to the breasts alone, flattened as in a supine patient."""
    rng = region.scene.rng
    size = rng.uniform(32, 52) + 0.45 * patient.fat_mm
    at = (rng.uniform(72, 98), -104 - 0.4 * patient.fat_mm, rng.uniform(130, 165))
    breasts = region.nothing()
    for side in (-1, 1):
        one = region.ellipsoid((side * at[0], *at[1:]), (size, size * rng.uniform(0.5, 0.66), size))
        breasts = np.minimum(breasts, one)
    return blend(skin, breasts, 16), breasts


def _without_back_muscles(region: Region, cavity: np.ndarray) -> np.ndarray:
    """The cavity without the muscles behind and beside the spine."""
    at = region.scene.axes[0]
    half = np.interp(at, (-200, -60, 20, 90, 200), (70, 66, 52, 40, 38)).astype(np.float32)[:, None, None]
    front = np.interp(at, (-200, -60, 20, 90, 200), (34, 31, 36, 42, 44)).astype(np.float32)[:, None, None]
    block = blend(np.abs(region.x) - half, front - region.y, -14)
    return smooth_subtract(cavity, block, 14)


def draw_arms(scene: Scene, patient: Patient) -> None:
    """Draw upper arms and forearms beside the trunk."""
    for side in (-1, 1):
        x = side * (128 + 30 + patient.fat_mm * 1.1 + scene.rng.uniform(14, 34))
        low, high = (x - 60, -80, -400), (x + 60, 90, 400)
        region = scene.region(low, high)
        if region.empty:
            continue
        y = scene.rng.uniform(0, 30)
        arm = region.tube([(x, y, -400, 36), (x, y + 15, 0, 42), (x, y + 15, 400, 52)], smooth=False)
        region.paint(arm, patient.hu["fat"])
        region.paint(arm + 4 + patient.fat_mm * 0.3, patient.hu["muscle"] + 8 * region.noise(8.0))
        bone = region.tube([(x, y, -400, 8), (x, y + 15, 0, 11), (x, y + 15, 400, 12)], smooth=False)
        paint_bone(region, patient, bone, 3.5)


def draw_deep_muscles(scene: Scene, patient: Patient) -> None:
    """Draw back muscles, psoas, quadratus lumborum and the crura of the diaphragm."""
    hu, rng = patient.hu, scene.rng
    fat_streaks = rng.uniform(4, 30)
    size = rng.uniform(0.8, 1.15)
    for side in (-1, 1):
        region = scene.region((min(side * 5, side * 110), -70, -320), (max(side * 5, side * 110), 110, 320))
        if region.empty:
            continue
        texture = hu["muscle"] - np.clip(fat_streaks * (region.noise(8.0) - 0.1), 0, 90)
        back = [(side * 28, 64, -200, 16 * size), (side * 32, 56, -110, 22 * size), (side * 34, 56, -20, 23 * size)]
        back += [(side * 30, 62, 80, 19 * size), (side * 27, 64, 200, 17 * size), (side * 26, 62, 300, 16 * size)]
        shape = region.tube(back)
        region.paint(np.maximum(np.abs(shape - 0.5) - 0.7, region.scene.flesh[region.box] + 4), hu["fat"] + 70)
        region.paint(np.maximum(shape, region.scene.flesh[region.box] + 3), texture)
        psoas = [(side * 27, 4, 8, 5), (side * 33, 2, -35, 13 * size), (side * 42, -4, -80, 20 * size)]
        psoas += [(side * 52, -18, -140, 23 * size), (side * 68, -44, -210, 20 * size), (side * 80, -52, -270, 16)]
        shape = region.tube(psoas)
        region.paint(shape, texture)
        region.bar(shape)
        lumborum = [(side * 58, 38, 12, 5), (side * 68, 36, -40, 9)]
        lumborum += [(side * 76, 30, -105, 11), (side * 82, 24, -130, 8)]
        shape = region.tube(lumborum)
        region.paint(shape, texture)
        region.bar(shape)
    region = scene.region((-35, -55, -60), (45, 20, 110), 8)
    right = region.tube([(-12, -18, -50, 3), (-11, -21, -10, 5), (-9, -27, 30, 6.5), (-1, -38, 66, 6), (4, -48, 86, 4)])
    left = region.tube([(24, -14, -35, 3), (25, -17, -5, 4.5), (26, -22, 30, 6), (23, -36, 66, 5), (18, -48, 84, 4)])
    wing = region.tube([(-14, -14, 35, 5), (-24, -2, 45, 4), (-36, 14, 50, 3)])
    wing = np.minimum(wing, region.tube([(28, -14, 35, 5), (36, -2, 42, 4), (44, 14, 46, 3)]))
    region.paint(np.minimum(np.minimum(right, left), wing), hu["muscle"], 0)
