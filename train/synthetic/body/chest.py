"""The lower chest: diaphragm, lungs, mediastinum and heart; also ascites."""

from __future__ import annotations

import numpy as np

from train.synthetic.body.patient import Patient
from train.synthetic.body.scene import Region, Scene
from train.synthetic.body.shapes import turned


def draw_diaphragm_and_chest(scene: Scene, patient: Patient) -> None:
    """Draw diaphragm, lungs, mediastinum and heart, and limit the abdomen to the space below the diaphragm."""
    region, hu, rng = scene.region((-160, -140, -40), (160, 110, 340)), patient.hu, scene.rng
    if region.empty:
        return
    breath = rng.normal(0, 8)
    patient.left_dome = 83 + breath + rng.normal(0, 5)
    right = _dome(region, -66 + rng.normal(0, 4), -14, 96 + breath)
    left = _dome(region, 64 + rng.normal(0, 4), -10, patient.left_dome)
    middle = 80 + breath - 0.55 * np.clip(region.y + 10, 0, None) - 0.012 * region.x**2
    above = region.z - np.maximum(np.maximum(right, left), middle)
    above *= 0.75  # the domes are steep: their distance is less than the height above them
    cavity = region.cavity()
    view = scene.abdomen[region.box]
    np.maximum(view, above + 2.0, out=view)
    region.paint(np.maximum(np.abs(above) - 2.2, cavity), hu["muscle"])
    chest = np.maximum(cavity, -above)
    half = np.interp(scene.axes[0], (60, 110, 160, 230), (16, 24, 30, 36)).astype(np.float32)[region.box[0]]
    mediastinum = np.abs(region.x - 6) - half[:, None, None] - 10 * np.clip(-(region.y + 40) / 60, -0.6, 0.6)
    heart_at = (22 + rng.normal(0, 5), -62 + rng.normal(0, 4), 124 + breath)
    heart = region.ellipsoid(heart_at, np.array([62, 42, 46]) * rng.uniform(0.88, 1.12), turned(0, 14, 38))
    fatty = rng.uniform(3, 9)
    lung = np.maximum(np.maximum(chest, -mediastinum), -(heart - fatty))
    vessels = 750 * np.clip(region.noise(3.5) - 2.1, 0, 1) + 160 * np.clip(region.noise(8.0) - 1.6, 0, 1)
    depend = np.clip((region.y - 20) / 60, 0, 1) * rng.uniform(0, 120)
    region.paint(lung + 1.0, hu["lung"] + vessels + depend + 15 * region.noise(20.0), 0)
    if rng.random() < 0.1:  # pleural effusion, dorsal
        level = rng.uniform(25, 60)
        region.paint(np.maximum(lung, level - region.y), rng.uniform(0, 20))
    inside = np.maximum(chest, -lung)
    region.paint(np.maximum(heart, inside), hu["heart_wall"] + 5 * region.noise(8.0))
    ventricle = region.ellipsoid((heart_at[0] + 12, heart_at[1] - 4, heart_at[2] - 4), (24, 17, 30), turned(0, 14, 38))
    atria = region.ellipsoid((heart_at[0] - 22, heart_at[1] + 10, heart_at[2] + 8), (24, 22, 30))
    right_ventricle = region.ellipsoid((heart_at[0] - 8, heart_at[1] - 20, heart_at[2] - 2), (32, 12, 28))
    cavities = np.minimum(np.minimum(ventricle, atria), right_ventricle) + 1.5 * region.noise(20.0)
    region.paint(np.maximum(cavities, heart + 6), hu["heart_blood"])


def draw_ascites(scene: Scene, patient: Patient) -> None:
    """Draw ascites in a few patients, mostly dorsal."""
    rng = scene.rng
    if rng.random() > 0.06:
        return
    region = scene.everything()
    film = -region.abdomen() - rng.uniform(4, 16) * np.clip(1 + (region.y + 20) / 70 + 0.4 * region.noise(20.0), 0, 3)
    region.paint(np.maximum(region.abdomen(), film), rng.uniform(2, 22))


def _dome(region: Region, x: float, y: float, top: float) -> np.ndarray:
    """Height (mm) of one dome of the diaphragm at each voxel, falling off into the costophrenic recess."""
    rho2 = ((region.x - x) / 78) ** 2 + ((region.y - y) / np.where(region.y < y, 108, 86)) ** 2
    return top - 62 + 62 * np.sqrt(np.maximum(1 - rho2, 0)) - 95 * np.maximum(np.sqrt(rho2) - 1, 0)
