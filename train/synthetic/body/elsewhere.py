"""Head and neck, and thighs: body regions without labelled structures, as negative examples."""

from __future__ import annotations

import numpy as np

from train.synthetic.body.bones import paint_bone
from train.synthetic.body.patient import Patient
from train.synthetic.body.scene import Region, Scene
from train.synthetic.body.shapes import blend, turned

COMPACT = 2.0
"""Density of the skull and of long bones, relative to the cortical bone of the trunk."""


def draw_head(scene: Scene, patient: Patient) -> None:
    """Draw head and neck; z = 0 is the level of the floor of the mouth, y = 0 the centre of the neck."""
    region, hu, rng = scene.everything(), patient.hu, scene.rng
    size = rng.uniform(0.92, 1.08, 3)
    vault = region.ellipsoid((0, 6, 82), np.array([74, 92, 78]) * size)
    face = region.ellipsoid((0, -52, 30), np.array([58, 48, 68]) * size)
    neck = np.hypot(region.x / rng.uniform(0.95, 1.15), region.y - 8) - (57 + 0.04 * patient.fat_mm)
    shoulders = np.maximum(np.abs(region.x) - 190, np.abs(region.y - 12) - 62) + 0.9 * (region.z + 118)
    neck = blend(np.maximum(neck, region.z - 40), np.maximum(shoulders, region.z + 100), 30)
    skin = blend(blend(vault - 7, face - 4, 14), neck, 18) + 1.2 * region.noise(20.0)
    fat_mm = 3 + 0.25 * patient.fat_mm
    region.paint(skin, hu["skin"])
    region.paint(skin + 2, hu["fat"] + 8 * region.noise(8.0))
    muscle = np.maximum(blend(face, neck, 15) + fat_mm, 6 * (region.noise(8.0) - 1.1))
    region.paint(muscle, hu["muscle"] + 6 * region.noise(8.0))
    _draw_neck(region, patient)
    paint_bone(region, patient, vault, rng.uniform(4, 7), COMPACT)
    _draw_brain(region, patient, vault + rng.uniform(7, 10))
    _draw_face(region, patient)


def _draw_brain(region: Region, patient: Patient, inside: np.ndarray) -> None:
    rng, hu = region.scene.rng, patient.hu
    enhanced = 0 if patient.phase == "plain" else rng.uniform(2, 8)
    region.paint(inside, rng.uniform(2, 14))
    brain = inside + 2 + np.clip(2.5 * region.noise(8.0), 0, 4)
    region.paint(brain, rng.uniform(28, 38) + enhanced + 4 * region.noise(20.0) + 3 * region.noise(8.0))
    for side in (-1, 1):
        ventricle = region.ellipsoid((side * 15, 0, 92), (7, 38, 11), turned(0, side * 14, side * -8))
        region.paint(ventricle + 1.2 * region.noise(8.0), rng.uniform(2, 14))
    falx = np.maximum(np.abs(region.x) - 1.0, brain - 6)
    region.paint(np.maximum(falx, 70 - region.z), hu["muscle"])
    sinus = region.tube([(0, -70, 120, 3), (0, 0, 158, 4), (0, 80, 110, 5), (0, 84, 70, 5)], pad=4)
    region.paint(sinus, hu["portal_vein"])


def _draw_face(region: Region, patient: Patient) -> None:
    """Draw orbits with eyes, nasal cavity and sinuses, jaws with teeth, and the skull base."""
    rng, hu = region.scene.rng, patient.hu
    base = np.maximum(np.abs(region.z - 42 - 0.28 * (region.y + 40)) - 5, np.hypot(region.x / 0.8, region.y) - 68)
    paint_bone(region, patient, base + 2.5 * region.noise(8.0), 2.5)
    for side in (-1, 1):
        petrous = region.ellipsoid((side * 40, 14, 38), (26, 11, 12), turned(0, 0, side * 38))
        paint_bone(region, patient, petrous + 2 * region.noise(8.0), 5, COMPACT)
        mastoid = region.ellipsoid((side * 56, 30, 26), (13, 14, 18))
        region.paint(np.maximum(mastoid, 3 * (0.2 - region.noise(3.5))), -700)
        orbit = region.ellipsoid((side * 32, -66, 62), (20, 24, 18))
        paint_bone(region, patient, orbit - 2.5, 1.5)
        region.paint(orbit, hu["fat"])
        region.paint(region.ellipsoid((side * 32, -74, 62), (12, 12, 12)), rng.uniform(5, 25))
        region.paint(region.tube([(side * 31, -62, 62, 4), (side * 14, -38, 60, 3)], pad=3), hu["muscle"])
        antrum = region.ellipsoid((side * 30, -60, 28), (15, 18, 17))
        paint_bone(region, patient, antrum - 1.5, 1.2)
        region.paint(antrum, -1000 if rng.random() < 0.85 else rng.uniform(5, 35))
        ramus = region.tube([(side * 50, -14, 34, 7), (side * 46, -30, 0, 7), (side * 30, -68, -10, 7)], pad=5)
        paint_bone(region, patient, ramus, 2.5)
    nose = np.maximum(region.ellipsoid((0, -58, 30), (9, 30, 24)), 4 * (region.noise(8.0) - 0.8))
    region.paint(nose, -1000)
    for z in (-8.0, 12.0):
        arch = np.abs(np.hypot(region.x, (region.y + 46) * 1.1) - 30) - 6
        arch = np.maximum(np.maximum(arch, np.abs(region.z - z) - 8), region.y + 50)
        paint_bone(region, patient, arch, 2)
        teeth = np.maximum(arch + 1, np.abs(region.z - z - (6 if z < 0 else -6)) - 5)
        region.paint(np.maximum(teeth, 3 * region.noise(3.5)), rng.uniform(900, 2600))
    tongue = region.ellipsoid((0, -42, -4), (22, 30, 18))
    region.paint(tongue + 2 * region.noise(8.0), hu["muscle"] + 5)


def _draw_neck(region: Region, patient: Patient) -> None:
    """Draw cervical spine, airway, thyroid gland, large vessels and lung apices."""
    rng, hu = region.scene.rng, patient.hu
    planes = np.maximum(np.abs(np.hypot(region.x, region.y - 8) - 36) - 1.5, region.z - 20)
    region.paint(planes + 2 * region.noise(8.0), hu["fat"])
    spine = np.maximum(np.hypot(region.x / 1.15, region.y - 6) - 12, region.z - 40)
    level = np.abs((region.z / 17) % 1 - 0.5)
    region.paint(spine, hu["disc"])
    paint_bone(region, patient, np.maximum(spine, (level - 0.36) * 17), 1.5)
    arch = np.maximum(np.abs(np.hypot(region.x, region.y - 27) - 15) - 4, np.maximum(-region.y + 18, region.z - 36))
    paint_bone(region, patient, np.maximum(arch, (level - 0.3) * 17), 1.5)
    region.paint(np.maximum(np.hypot(region.x, region.y - 26) - 8, region.z - 40), 25)
    airway = region.tube([(0, -30, 30, 9), (0, -22, -10, 9), (0, -26, -60, 8.5), (0, -8, -150, 8.5)], pad=5)
    region.paint(airway - 2.5, hu["cartilage"])
    region.paint(airway, -1000)
    thyroid_hu = rng.uniform(70, 130) + (0 if patient.phase == "plain" else rng.uniform(20, 80))
    for side in (-1, 1):
        lobe = region.ellipsoid((side * 20, -22, -72), (10, 12, 24), turned(0, side * 12, 0))
        region.paint(lobe + 1.2 * region.noise(8.0), thyroid_hu)
        artery = [(side * 27, -6, 30, 3.2), (side * 26, -12, -40, 3.8), (side * 20, -8, -150, 4.2)]
        vein = [(side * 33, -2, 30, 4.5), (side * 33, -12, -40, 6.5), (side * 26, -20, -150, 8)]
        region.paint(region.tube(vein, pad=4), hu["portal_vein"] * rng.uniform(0.6, 1.1))
        region.paint(region.tube(artery, pad=4), hu["arteries"])
        gland = region.ellipsoid((side * 42, -20, 14), (12, 18, 24))
        region.paint(gland + 2 * region.noise(8.0), rng.uniform(10, 60) + 0.3 * (hu["spleen"] - 45))
        clavicle = [(side * 18, -30, -122, 7), (side * 80, -20, -112, 6), (side * 150, 20, -104, 7)]
        paint_bone(region, patient, region.tube(clavicle, pad=5), 2.5)
        humerus = region.ellipsoid((side * 165, 12, -128), (25, 25, 25))
        paint_bone(region, patient, np.minimum(humerus, region.tube([(side * 165, 12, -128, 18),
                   (side * 172, 14, -220, 13)], pad=5)), 2.5)  # fmt: skip
        lung = region.ellipsoid((side * 62, 10, -176), (44, 46, 52))
        region.paint(lung, hu["lung"] + 20 * region.noise(20.0))


def draw_thighs(scene: Scene, patient: Patient) -> None:
    """Draw one or both thighs from below the hips to the knees; z = 0 is mid-thigh."""
    rng = scene.rng
    sides = [(-1, 1), (-1,), (1,)][int(rng.choice(3, p=[0.7, 0.15, 0.15]))]
    for side in sides:
        _draw_thigh(scene.everything(), patient, side)


def _draw_thigh(region: Region, patient: Patient, side: int) -> None:
    rng, hu = region.scene.rng, patient.hu
    x, y = region.x - side * 96 + side * 0.12 * region.z, region.y - 0.02 * region.z
    radius = np.interp(region.z, (-220, -150, 0, 180), (52, 58, 76, 90)).astype(np.float32)
    away = np.hypot(x, y)
    fat_mm = 4 + 0.7 * patient.fat_mm
    flesh = away - radius + 3 * region.noise(20.0)
    skin = flesh - fat_mm
    region.paint(skin, hu["skin"])
    region.paint(skin + 2, hu["fat"] + 6 * region.noise(8.0))
    region.paint(flesh, hu["muscle"] - np.clip(rng.uniform(4, 25) * (region.noise(8.0) + 0.3), 0, 60))
    angle = np.arctan2(y, x)
    seams = np.abs(np.sin(2.5 * angle + rng.uniform(0, 6) + 0.3 * region.noise(20.0))) * away - rng.uniform(1, 3.5)
    region.paint(np.maximum(np.maximum(seams, flesh + 2), 16 - away), hu["fat"] + 15)
    shaft = np.where(region.z < -170, 14 + 0.45 * (-170 - region.z), 14).astype(np.float32)
    paint_bone(region, patient, np.hypot(x - side * 6, y + 6) - shaft, rng.uniform(4, 7), COMPACT)
    region.paint(np.hypot(x - side * 6, y + 6) - 6, hu["fat"] + 40 * region.noise(8.0) * (rng.random() < 0.5))
    region.paint(np.hypot(x + side * 24, y - 10) - rng.uniform(3, 4.5), hu["arteries"])
    region.paint(np.hypot(x + side * 27, y - 18) - rng.uniform(4, 6), hu["portal_vein"])
    if rng.random() < 0.3:  # a soft-tissue mass outside the abdomen is not labelled as tumour
        at = (side * 96 + rng.uniform(-30, 30), rng.uniform(-30, 30), rng.uniform(-80, 120))
        mass = region.ellipsoid(at, rng.uniform(12, 42, 3))
        region.paint(mass + 3 * region.noise(8.0), rng.uniform(10, 90) + 8 * region.noise(8.0))
