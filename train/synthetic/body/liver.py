"""Liver with its vessels, and the gallbladder."""

from __future__ import annotations

import numpy as np

from train.synthetic.body.kidneys import draw_cysts
from train.synthetic.body.patient import GALLBLADDER, LIVER, Patient
from train.synthetic.body.scene import Region, Scene
from train.synthetic.body.shapes import blend, near, smooth_subtract, turned


def draw_liver(scene: Scene, patient: Patient) -> None:
    """Draw the liver: right, left and caudate lobe, fissure, porta hepatis and vessels."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-150, -130, -125), (135, 90, 130))
    if region.empty:
        return
    move = patient.moved("liver", rng, 4.0)
    size = scene.organ_factor * rng.uniform(0.9, 1.07, 3)
    left = rng.uniform(0.55, 1.25)
    right_lobe = region.ellipsoid(near(move, -74, -18, 34), np.array([82, 92, 84]) * size, turned(0, 22, 0))
    tail = region.ellipsoid(
        near(move, -100, -12, -22 + rng.uniform(-22, 12)), np.array([34, 56, 58]) * size, turned(0, 8, 0)
    )
    left_lobe = region.ellipsoid(
        near(move, 14, -70, 52), np.array([84 * left, 38, 42 * (0.7 + 0.3 * left)]) * size, turned(0, -20, -8)
    )
    caudate = region.ellipsoid(near(move, -10, -32, 48), np.array([20, 15, 26]) * size)
    liver = blend(blend(right_lobe, tail, 18), blend(left_lobe, caudate, 8), 14)
    # Impressions of kidney, colon and stomach, and the porta hepatis.
    under = region.ellipsoid((-44, 40, -50), (52, 66, 74), turned(12, 0, 0))
    hilum = region.ellipsoid(near(move, -16, -46, 2), (26, 26, 26))
    spine_side = region.ellipsoid((18, 10, 40), (48, 40, 140))
    liver = smooth_subtract(smooth_subtract(smooth_subtract(liver, under, 14), hilum, 10), spine_side, 8)
    liver = region.confined(liver + 2.0 * region.noise(20.0), gap=1.0)
    width = rng.uniform(0.5, 3.0) - 0.04 * (region.z - 10)  # a cleft that narrows upwards
    fissure = np.maximum(np.abs(region.x - move[0] - 8 - 0.3 * (region.z - 40) + 3 * region.noise(20.0)) - width, 0)
    fissure = np.where(fissure > 0, fissure, -width)
    fissure = np.maximum(fissure, region.y + rng.uniform(45, 70))
    fissure = np.maximum(fissure, region.z - move[2] - rng.uniform(15, 60))
    liver = np.maximum(liver, -fissure)
    texture = hu["liver"] + 3 * region.noise(8.0) + 4 * region.noise(20.0)
    region.paint(liver, texture, LIVER)
    _draw_liver_vessels(region, patient, liver, move)
    if rng.random() < 0.2:
        draw_cysts(scene, LIVER, int(rng.integers(1, 4)), (3, 14))


def _draw_liver_vessels(region: Region, patient: Patient, liver: np.ndarray, move: np.ndarray) -> None:
    """Draw hepatic veins and portal vein branches, which keep the label of the liver."""
    rng, hu = region.scene.rng, patient.hu
    outlet = np.array([-20, -36, 76])
    for goal in [(-105, -10, 40), (-70, -75, 45), (25, -78, 58), (-95, 30, 20)]:
        goal = np.array(goal) + rng.normal(0, 10, 3) + move
        middle = (outlet + goal) / 2 + rng.normal(0, 5, 3) + (0, 0, 8)
        vein = region.tube([(*outlet, 5.5), (*middle, 3.8), (*goal, 1.5)], pad=4)
        region.paint(np.maximum(vein, liver + 3), 0.4 * hu["ivc"] + 0.6 * hu["portal_vein"])
        for _ in range(2):
            twig = middle + rng.normal(0, 24, 3)
            vein = region.tube([(*middle, 2.6), (*twig, 1.2)], pad=4)
            region.paint(np.maximum(vein, liver + 3), 0.4 * hu["ivc"] + 0.6 * hu["portal_vein"])
    porta = np.array([-36, -44, 28]) + move
    for goal in [(-92, -45, 25), (-80, 20, 20), (-95, -5, 62), (15, -70, 52), (-100, 0, -15)]:
        goal = np.array(goal) + rng.normal(0, 9, 3) + move
        middle = (porta + goal) / 2 + rng.normal(0, 5, 3)
        tree = region.tube([(*porta, 6), (*middle, 4.2), (*goal, 2)], pad=4)
        for _ in range(3):
            twig = goal + rng.normal(0, 22, 3)
            tree = np.minimum(tree, region.tube([(*goal, 2.6), (*twig, 1.2)], pad=4))
        region.paint(np.maximum(tree, liver + 2), hu["portal_vein"])


def draw_gallbladder(scene: Scene, patient: Patient) -> None:
    """Draw the gallbladder below the right lobe; removed in some patients, with stones in others."""
    rng, hu = scene.rng, patient.hu
    if rng.random() < 0.13:
        return
    region = scene.region((-100, -125, -75), (-5, -10, 45))
    if region.empty:
        return
    k = scene.organ_factor * rng.uniform(0.8, 1.12)
    move = patient.moved("liver", rng, 4.0) + rng.normal(0, 3, 3)
    pts = np.array([(-34, -54, 10, 5), (-44, -62, 2, 10), (-54, -74, -12, 14.5), (-59, -84, -26, 13.5)]) * 1.0
    pts[:, :3] += move
    pts[:, 3] *= k
    shape = region.confined(region.tube(pts) + 0.8 * region.noise(20.0), gap=2)
    region.paint(shape - rng.uniform(0, 2), hu["visceral_fat"], None)
    region.paint(shape, hu["bile"] + 22, GALLBLADDER)
    region.paint(shape + rng.uniform(1, 2.2), hu["bile"] + 2 * region.noise(8.0))
    if rng.random() < 0.15:
        at = near(pts[2, :3], 0, 4, -2)
        stones = region.ellipsoid(at, rng.uniform(3, 8, 3))
        region.paint(np.maximum(stones, shape + 1.5), rng.choice([rng.uniform(80, 600), rng.uniform(-40, 0)]))
