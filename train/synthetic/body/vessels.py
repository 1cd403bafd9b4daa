"""Great vessels, portal and mesenteric vessels.

The aorta is labelled down to its bifurcation, the inferior vena cava from its confluence to the heart.
"""

from __future__ import annotations

import numpy as np

from train.synthetic.body.patient import AORTA, IVC, LIVER, Patient
from train.synthetic.body.scene import Region, Scene
from train.synthetic.body.shapes import FAR


def draw_portal_veins(scene: Scene, patient: Patient) -> None:
    """Draw superior mesenteric, splenic and portal vein and the coeliac trunk, all background."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-60, -90, -150), (110, 20, 60))
    if region.empty:
        return
    join = np.array([-8, -53, -8]) + rng.normal(0, 2, 3)
    tail = patient.moved("pancreas", rng, 3.0)
    porta = np.array([-36, -44, 28]) + patient.moved("liver", rng, 4.0)
    veins = [
        [(*join, 6.5), (-22, -46, 10, 7), (*porta, 6.5)],
        [(*join, 5), (16, -54, 6, 4.2), (46, -30, 18, 4), (84, -2, 32, 3)],
        [(*join, 5.5), (-10, -64, -45, 5), (-10, -70, -85, 4), (-14, -66, -140, 3)],
    ]
    for vein in veins:
        moved = np.array(vein)
        moved[1:, :3] += tail if vein is veins[1] else 0
        shape = region.confined(region.tube(moved, pad=6), gap=2)
        region.paint(shape - 1.0, hu["visceral_fat"], None)
        region.paint(shape, hu["portal_vein"], 0)
    trunk = [(8, -42, 14, 3.5), (8, -54, 17, 3.5), (-6, -56, 17, 2.6), (-24, -54, 14, 2.4)]
    splenic = [(8, -54, 17, 2.8), (30, -50, 20, 2.6), (50, -30, 27, 2.4), (84, -4, 36, 2)]
    for artery in (trunk, splenic):
        region.paint(region.confined(region.tube(artery, pad=5), gap=2), hu["arteries"], 0)
    duct = region.tube([(-34, -52, 20, 2.4), (-30, -50, -5, 2.6), (-32, -46, -40, 2)], pad=4)
    region.paint(duct, hu["bile"])


def draw_mesenteric_vessels(scene: Scene, patient: Patient) -> None:
    """Draw the superior mesenteric artery and vein, in front of the horizontal part of the duodenum."""
    hu, rng = patient.hu, scene.rng
    region = scene.region((-35, -95, -150), (30, -20, 15))
    if region.empty:
        return
    artery = [(8, -40, 2, 4), (6, -52, -8, 3.8), (4, -62, -32, 3.6), (3, -72, -75, 3.2), (-4, -72, -140, 2.5)]
    vein = [(-9, -60, -20, 5.5), (-10, -66, -45, 5.2), (-9, -73, -78, 4.6), (-14, -70, -140, 3)]
    for path, name in ((vein, "portal_vein"), (artery, "arteries")):
        points = np.array(path)
        points[1:, :3] += rng.normal(0, 1, 3)
        shape = region.tube(points, pad=6)
        region.paint(shape - 3, hu["visceral_fat"], 0)
        region.paint(shape, hu[name], 0)


def draw_ivc(scene: Scene, patient: Patient) -> None:
    """Draw the inferior vena cava from the confluence of the iliac veins, through the liver, to the heart."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-60, -75, -250), (40, 20, 135), 8)
    if region.empty:
        return
    r = rng.uniform(9.6, 12.2) * scene.organ_factor**0.8
    flat = rng.uniform(0.68, 1.0)
    pts = np.array(
        [
            (-10, -30, -128, 0.85), (-17, -34, -110, 0.95), (-21, -35, -70, 0.95), (-23, -36, -25, 1.0),
            (-24, -37, 20, 1.05), (-22, -34, 55, 1.1), (-22, -39, 80, 1.15), (-20, -46, 98, 1.25),
        ]
    )  # fmt: skip
    pts[:, :2] += rng.normal(0, 1.5, (8, 2))
    low = patient.bifurcation(rng) - rng.uniform(2, 14)  # the confluence is slightly below the aortic bifurcation
    pts[:2, 2] = low + 8, low + 24
    pts[:, 3] *= r
    shape = _flattened_tube(region, pts, flat, -36)
    for side in (-1, 1):
        iliac = region.tube([(-10, -30, low + 10, 8), (side * 28 - 6, -24, -155, 7), (side * 50, -12, -205, 7)])
        region.paint(iliac, hu["ivc"], 0)
    fat = np.where(region.labels() == LIVER, FAR, shape - 1.2)  # no fat between it and the liver
    region.paint(fat, hu["visceral_fat"])
    upper = np.clip((region.z + 40) / 60, 0, 1)  # the renal veins bring enhanced blood early
    mixed = hu["ivc"] + upper * (0.5 * (hu["portal_vein"] - hu["ivc"]))
    if patient.phase in ("arterial", "portal"):
        mixed = mixed + rng.uniform(0, 14) * region.noise(20.0)
    vein = np.maximum(shape, 0.3 - scene.barrier[region.box])
    region.paint(np.maximum(vein, low - region.z), mixed, IVC)


def _flattened_tube(region: Region, pts: np.ndarray, flat: float, y: float) -> np.ndarray:
    """A tube flattened from front to back around `y`, and widened in turn."""
    stretched = Region.__new__(Region)
    stretched.__dict__.update(region.__dict__)
    wide = 1 / np.sqrt(flat)
    narrow = np.sqrt(flat)
    stretched.y = y + (region.y - y) / np.float32(narrow)
    stretched.x = (region.x + 22) / np.float32(wide) - 22
    points = pts.copy()
    points[:, 1] = y + (points[:, 1] - y) / narrow
    points[:, 0] = (points[:, 0] + 22) / wide - 22
    return stretched.tube(points, pad=20) * np.float32(narrow)


def draw_aorta(scene: Scene, patient: Patient) -> None:
    """Draw aortic arch, descending and abdominal aorta; the iliac arteries are background."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-50, -95, -260), (75, 40, 270), 8)
    if region.empty:
        return
    r = rng.uniform(8.8, 11.8) * scene.organ_factor**0.8
    pts = np.array(
        [
            (-14, -52, 150, 1.45), (-20, -58, 185, 1.45), (-14, -52, 215, 1.4), (2, -28, 230, 1.3), (20, -4, 222, 1.2),
            (27, 6, 195, 1.15), (26, 2, 140, 1.12), (20, -10, 95, 1.1), (12, -23, 60, 1.06), (8, -30, 20, 1.0),
            (7, -31, -25, 0.95), (7, -31, -70, 0.9), (5, -32, -108, 0.88),
        ]
    )  # fmt: skip
    pts[-1, 2] = patient.bifurcation(rng) + 6
    sway = np.interp(pts[:, 2], (-108, -60, 0, 100), (rng.normal(0, 4), rng.normal(0, 4), rng.normal(0, 2), 0))
    pts[5:, 0] += sway[5:]
    pts[:, 3] *= r
    for side in (-1, 1):
        iliac = region.tube([(*pts[-1, :3], 6), (side * 24 + 4, -34, -140, 5.5), (side * 50, -26, -200, 5)])
        region.paint(iliac, hu["arteries"], 0)
    shape = region.tube(pts) + 0.4 * region.noise(20.0)
    region.paint(shape - 1.2, hu["visceral_fat"])
    region.paint(np.maximum(shape, patient.bifurcation(rng) - region.z), hu["aorta"], AORTA)
    if rng.random() < 0.35:  # calcified plaques in the wall
        plaques = np.maximum(np.abs(shape + 1) - 1.2, 1.3 - region.noise(8.0))
        region.paint(np.maximum(plaques, region.z - 130), rng.uniform(300, 800))
