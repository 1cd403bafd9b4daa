"""Kidneys with vessels and ureters; cysts in any organ."""

from __future__ import annotations

import numpy as np

from train.synthetic.body.patient import LEFT_KIDNEY, RIGHT_KIDNEY, Patient
from train.synthetic.body.scene import Scene
from train.synthetic.body.shapes import FAR, near, smooth_subtract, turned


def draw_kidneys(scene: Scene, patient: Patient) -> None:
    """Draw both kidneys in perirenal fat: cortex, medulla, and sinus and renal pelvis, which are background."""
    rng = scene.rng
    common = rng.uniform(0.9, 1.08)
    for side, label, at in ((-1, RIGHT_KIDNEY, (-64, -3, -30)), (1, LEFT_KIDNEY, (64, -3, -19))):
        _draw_kidney(scene, patient, side, label, np.array(at, float), common * rng.uniform(0.95, 1.05))


def _draw_kidney(scene: Scene, patient: Patient, side: int, label: int, at: np.ndarray, size: float) -> None:
    rng, hu = scene.rng, patient.hu
    at = at + patient.moved("right kidney" if side < 0 else "left kidney", rng, 4.0)
    region = scene.region(at - [48, 52, 80], near(at, 48, 52, 80))
    if region.empty:
        return
    size = size * scene.organ_factor
    turn = turned(rng.normal(10, 4), 0, 0) @ turned(0, side * rng.normal(-13, 3), 0) @ turned(0, 0, side * -35)
    d = (region.x - at[0], region.y - at[1], region.z - at[2])
    own = [sum(np.float32(r[k]) * d[k] for k in range(3)) for r in turn]
    inward = -side * own[0]  # grows towards the hilum
    length = np.float32(61 * size * rng.uniform(0.95, 1.05))
    bent = inward - 7 * (own[2] / length) ** 2 + 3  # bean shape: the poles bend towards the hilum
    thick = np.float32(25.5 * size), np.float32(29 * size)
    k0 = np.sqrt((bent / thick[0]) ** 2 + (own[1] / thick[1]) ** 2 + (own[2] / length) ** 2)
    kidney = (k0 - 1) * np.float32(26 * size) * (0.55 + 0.45 * np.clip(k0, 0, 1))
    wide = rng.uniform(0.65, 1.05)  # sinus fat increases with age and weight
    sinus = np.sqrt(((inward - 16) / 17) ** 2 + (own[1] / (11 * wide)) ** 2 + (own[2] / (27 * wide)) ** 2) - 1
    sinus = sinus * 11 * wide / size + 1.2 * region.noise(8.0)
    kidney = smooth_subtract(kidney, sinus, 3) + 0.7 * region.noise(8.0)
    barred = 2 - scene.barrier[region.box]
    kidney = np.maximum(np.maximum(kidney, barred), region.abdomen() + 2)
    fat = np.maximum(kidney, barred) - patient.visceral_mm
    closed = np.maximum(np.minimum(fat, sinus - 4), region.cavity())
    region.paint(closed, hu["visceral_fat"] + 8 * region.noise(8.0), 0)
    medulla = hu["kidney_medulla"] + 3 * region.noise(8.0)
    region.paint(kidney, hu["kidney_cortex"] + 3 * region.noise(8.0), label, loose=0.3)
    columns = rng.uniform(5, 8) + 2.5 * region.noise(8.0)
    region.paint(kidney + columns, medulla)
    pelvis = np.sqrt(((inward - 16) / 13) ** 2 + (own[1] / 6) ** 2 + (own[2] / 17) ** 2) - 1
    pelvis = pelvis * 6 + 1.5 * region.noise(8.0) + rng.uniform(0, 3)
    region.paint(np.maximum(pelvis, sinus + 2), hu["renal_pelvis"])
    if rng.random() < 0.25:
        draw_cysts(scene, label, int(rng.integers(1, 3)), (4, 20))
    _draw_renal_vessels(scene, patient, side, at)


def _draw_renal_vessels(scene: Scene, patient: Patient, side: int, at: np.ndarray) -> None:
    rng, hu = scene.rng, patient.hu
    hilum = near(at, -side * 20, -12, rng.normal(0, 4))
    region = scene.region((-70, -70, -80), (70, 30, 40))
    if region.empty:
        return
    if side < 0:
        vein = [(*hilum, 4), (-40, -26, at[2] + 4, 5), (-22, -36, at[2] + 10, 6)]
    else:
        vein = [(*hilum, 4), (36, -26, at[2], 5), (14, -47, at[2] + 4, 5), (-12, -42, at[2] + 6, 6)]
    region.paint(np.maximum(region.tube(vein, pad=4), region.cavity()), 0.5 * (hu["ivc"] + hu["portal_vein"]), 0)
    artery = [(*near(hilum, 0, 5, 3), 2), (side * 30, -18, at[2] + 7, 2.6), (6 + side * 5, -30, at[2] + 10, 3)]
    region.paint(np.maximum(region.tube(artery, pad=4), region.cavity()), hu["arteries"], 0)
    ureter = [(*near(hilum, 0, 4, -22), 2.2), (side * 34, -14, -90, 2), (side * 36, -34, -150, 2)]
    region = scene.region((-75, -60, -155), (75, 30, at[2]))
    region.paint(np.maximum(region.tube(ureter, pad=4), region.cavity()), hu["renal_pelvis"])


def draw_cysts(scene: Scene, label: int, count: int, radii: tuple[float, float]) -> None:
    """Draw simple cysts in an organ; they keep its label."""
    for _ in range(count):
        at = somewhere_in(scene, label)
        if at is None:
            return
        radius = scene.rng.uniform(*radii)
        region = scene.region(at - radius, at + radius, 4)
        cyst = region.ellipsoid(at, radius * scene.rng.uniform(0.85, 1.15, 3)) + 0.6 * region.noise(8.0)
        cyst = np.where(region.labels() == label, cyst, FAR)
        region.paint(cyst, scene.rng.uniform(0, 18))


def somewhere_in(scene: Scene, label: int) -> np.ndarray | None:
    """Standard coordinates (x, y, z) of a random voxel with this label, or None."""
    voxels = np.flatnonzero(scene.labels.ravel() == label)
    if len(voxels) == 0:
        return None
    k = int(scene.rng.choice(voxels))
    return np.array([scene.x.ravel()[k], scene.y.ravel()[k], scene.z.ravel()[k]], float)
