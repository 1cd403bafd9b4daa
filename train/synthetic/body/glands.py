"""Spleen, adrenal glands and pancreas."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from train.synthetic.body.patient import (
    LEFT_ADRENAL,
    LEFT_KIDNEY,
    PANCREAS,
    RIGHT_ADRENAL,
    RIGHT_KIDNEY,
    SPLEEN,
    STOMACH,
    Patient,
)
from train.synthetic.body.scene import Scene
from train.synthetic.body.shapes import FAR, Point, near, smooth_subtract, turned


def draw_spleen(scene: Scene, patient: Patient) -> None:
    """Draw the spleen with impressions of stomach and kidney; heterogeneous in the arterial phase."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((20, -80, -60), (150, 100, 125))
    if region.empty:
        return
    move = near(patient.moved("spleen", rng, 4.0), 0, 0, 0.6 * (patient.left_dome - 83))
    size = scene.organ_factor * rng.uniform(0.92, 1.28) * rng.uniform(0.95, 1.05, 3)
    spleen = region.ellipsoid(near(move, 97, 18, 47), np.array([38, 50, 56]) * size, turned(-28, -10, 20))
    hollow = region.ellipsoid(near(move, 45, -22, 34), (42, 50, 66), turned(0, 0, 12))
    spleen = smooth_subtract(spleen, hollow, 8) + 1.5 * region.noise(20.0)
    spleen = region.confined(spleen, gap=1.5)
    texture = hu["spleen"] + 3 * region.noise(8.0)
    if patient.phase == "arterial":
        texture = texture + rng.uniform(4, 16) * region.noise(20.0)
    region.paint(spleen, texture, SPLEEN)
    if rng.random() < 0.12:
        at = near(move, 68, -8, 20)
        extra = region.ellipsoid(at, rng.uniform(4, 8, 3))
        region.paint(region.confined(extra), hu["spleen"], 0)


def draw_adrenals(scene: Scene, patient: Patient) -> None:
    """Draw the adrenal glands as thin limbs in a Y or V shape, the right one behind the IVC."""
    rng = scene.rng
    for side, label, place in ((-1, RIGHT_ADRENAL, (-31, -17, 22)), (1, LEFT_ADRENAL, (36, -24, 20))):
        at = np.array(place) + np.clip(rng.normal(0, 2.5, 3), -4, 4)
        region = scene.region(at - 34, at + 34)
        if region.empty:
            continue
        k = scene.organ_factor
        half = k * rng.uniform(10, 17.5)
        thick = k * rng.uniform(1.3, 2.6)
        up = (region.z - at[2]) / half
        lean = 5 * up  # follows the upper pole of the kidney
        x, y = (side * (region.x - at[0]) + 0.35 * lean) / k, (region.y - at[1] - 0.4 * lean) / k
        c, s = np.float32(np.cos(turn := np.deg2rad(rng.normal(-6, 15)))), np.float32(np.sin(turn))
        x, y = c * x - s * y, s * x + c * y
        medial = _limb(x, y, (0, -7), (rng.uniform(-2, 3), rng.uniform(13, 18) * 1.0)) - thick
        spread = rng.uniform(8, 15)
        lateral = _limb(x, y, (0, -4), (spread, rng.uniform(8, 15))) - thick
        ridge = _limb(x, y, (-1, -12), (0, -4)) - thick * 1.2
        lateral = lateral + 5 * np.clip(up - 0.2, 0, 1)  # the lateral limb is shorter
        gland = np.minimum(np.minimum(medial, lateral), ridge)
        gland = np.maximum(gland + 0.5 * region.noise(8.0), (np.abs(up) - 1) * half * 0.8)
        gland = region.confined(gland, gap=0.5)
        region.paint(gland - 2.5, patient.hu["visceral_fat"], 0)
        region.paint(gland, patient.hu["adrenal"], label, loose=rng.uniform(0.1, 0.9))


def _limb(x: np.ndarray, y: np.ndarray, a: Point, b: Point) -> np.ndarray:
    """Distance to a segment in the axial plane."""
    bx, by = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * bx + (y - a[1]) * by) / (bx * bx + by * by), 0, 1)
    return np.hypot(x - a[0] - t * bx, y - a[1] - t * by).astype(np.float32)


def draw_pancreas(scene: Scene, patient: Patient) -> None:
    """Draw the pancreas: head in the duodenal C-loop, neck in front of the portal vein, tail at the splenic hilum."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-60, -95, -75), (120, 30, 70))
    if region.empty:
        return
    k = scene.organ_factor * rng.uniform(0.7, 1.14)
    tail = rng.uniform(-10, 12)
    move = patient.moved("pancreas", rng, 3.0)
    pts = np.array(
        [
            (-17, -50, -52, 8), (-27, -52, -38, 13), (-27, -55, -22, 14), (-14, -63, -10, 10.5), (6, -68, 2, 10),
            (28, -57, 10 + 0.3 * tail, 10.5), (50, -35, 16 + 0.7 * tail, 10.5), (72, -15, 24 + tail, 10),
            (84, -5, 28 + tail, 7.5),
        ]
    )  # fmt: skip
    pts[1:-1, :3] += rng.normal(0, 2.5, (7, 3))
    pts[:, :3] += move
    pts[:, 3] *= k * rng.uniform(0.84, 1.16, 9)
    if rng.random() < 0.3:  # atrophy with age, mostly of the tail
        pts[:, 3] *= np.linspace(rng.uniform(0.8, 1), rng.uniform(0.5, 0.8), 9)
    shape = region.tube(pts)
    lobules = rng.uniform(0.6, 2.4)
    pancreas = region.confined(shape + lobules * region.noise(8.0) + 1.0 * region.noise(20.0), gap=2)
    outline = region.confined(shape + 0.5 * lobules * region.noise(20.0), gap=2)  # annotators do not trace every lobule
    # The pancreas may indent the back of the stomach, but not lie inside it.
    labels = region.labels()
    deep = ndimage.binary_erosion(labels == STOMACH, iterations=max(1, round(6 / scene.spacing[2])))
    pancreas = np.where(deep | np.isin(labels, (LEFT_KIDNEY, RIGHT_KIDNEY, SPLEEN)), FAR, pancreas)
    region.paint(pancreas - rng.uniform(0.5, 3), hu["visceral_fat"], 0)
    infiltrated = np.clip(rng.uniform(5, 45) * (region.noise(3.5) - rng.uniform(-0.3, 0.5)), 0, 110)
    region.paint(pancreas, hu["pancreas"] - infiltrated)
    rim = np.where(np.isin(labels, (0, STOMACH)) | (pancreas < 0), np.minimum(pancreas, outline - 0.3), FAR)
    labels[np.where(deep | (labels == SPLEEN), FAR, rim) < 0] = PANCREAS
    duct = region.tube(np.c_[pts[1:, :3], np.full(8, rng.uniform(0.3, 1.4))], pad=3)
    region.paint(np.maximum(duct, pancreas), 12.0)
