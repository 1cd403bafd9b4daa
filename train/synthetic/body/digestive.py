"""Stomach, duodenum and esophagus."""

from __future__ import annotations

import numpy as np

from train.synthetic.body.bowel import paint_gut
from train.synthetic.body.patient import DUODENUM, ESOPHAGUS, GALLBLADDER, LEFT_KIDNEY, RIGHT_KIDNEY, STOMACH, Patient
from train.synthetic.body.scene import Scene
from train.synthetic.body.shapes import FAR, blend


def draw_stomach(scene: Scene, patient: Patient) -> None:
    """Draw the stomach from the gastroesophageal junction to the pylorus: wall, content, and gas in front."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-70, -130, -90), (135, 80, 125))
    if region.empty:
        return
    full = rng.uniform(0.42, 0.62) if rng.random() < 0.3 else rng.uniform(0.62, 1.12)
    top = patient.left_dome
    drop = rng.uniform(-22, 10)
    move = patient.moved("stomach", rng, 4.0)
    pts = np.array(
        [
            (64, 12, top - 22, 20), (66, -12, top - 28, 29), (66, -46, top - 36, 31), (64, -64, 24, 28),
            (50, -74, -4 + 0.5 * drop, 25),
            (26, -78, -18 + drop, 22), (0, -74, -16 + 0.7 * drop, 17), (-20, -66, -8 + 0.2 * drop, 11),
        ]
    )  # fmt: skip
    pts[1:-1, :3] += rng.normal(0, 4, (6, 3))
    pts[:, :3] += move
    upper = np.array([0.5, 0.5, 0.6, 1, 1, 1, 1, 1])  # the fundus stays wide in an empty stomach
    pts[:, 3] *= scene.organ_factor * full**upper * rng.uniform(0.88, 1.15, 8)
    pts[-1, :3] = _PYLORUS + patient.moved("pylorus", rng, 3.0)
    shape = blend(region.tube(pts), region.tube([(26, -42, 72, 9), (48, -30, 66, 15)]), 8)
    shape = region.confined(shape + 1.5 * region.noise(20.0) + (1.15 - full) * 2.5 * region.noise(8.0), gap=2)
    wall = rng.uniform(2.5, 4.0) + 3.5 * (1.12 - full)
    kind = rng.choice(["fluid", "food", "contrast", "gas"], p=[0.35, 0.28, 0.17, 0.20])
    food = rng.uniform(10, 60) + 30 * region.noise(8.0) - 160 * np.clip(region.noise(3.5) - 1, 0, 2)
    contents: dict[str, np.ndarray | float] = {
        "fluid": rng.uniform(-5, 25), "food": food, "gas": rng.uniform(0, 30),
        "contrast": rng.uniform(100, 420) + 25 * region.noise(20.0),
    }  # fmt: skip
    gas = rng.uniform(0.5, 0.95) if kind == "gas" else rng.uniform(0, 0.4)
    region.paint(np.maximum(shape - rng.uniform(0, 4), region.abdomen()), hu["visceral_fat"], 0)
    paint_gut(region, patient, shape, wall, "stomach_wall", contents[kind], STOMACH, gas)


_PYLORUS = np.array([-30, -62, -6])


def draw_duodenum(scene: Scene, patient: Patient) -> None:
    """Draw the duodenum: bulb, descending part right of the pancreatic head, horizontal part, ascending part."""
    rng = scene.rng
    region = scene.region((-85, -95, -125), (65, 10, 30))
    if region.empty:
        return
    low = rng.uniform(-12, 6)
    r = rng.uniform(10.8, 13.6)
    pts = np.array(
        [
            (-30, -62, -6, 0.85), (-42, -55, -5, 1.0), (-52, -45, -16, 1.0), (-54, -40, -38, 1.0),
            (-52, -40, -58 + low, 1.0), (-40, -46, -76 + low, 1.0), (-14, -57, -80 + low, 0.9),
            (10, -59, -77 + low, 0.85), (30, -50, -66 + low, 0.92), (38, -50, -46, 0.95), (40, -62, -34, 0.9),
        ]
    )  # fmt: skip
    pts[2:-1, :3] += rng.normal(0, 2.0, (8, 3))
    pts[0, :3] += patient.moved("pylorus", rng, 3.0)
    pts[1, :3] += 0.6 * patient.moved("pylorus", rng, 3.0)
    pts[:, 3] *= r * scene.organ_factor**0.8 * rng.uniform(0.8, 1.12, 11)
    pts[5:9, 3] *= rng.uniform(0.5, 1.0)  # often compressed between the great vessels
    shape = region.confined(region.tube(pts) + 1.0 * region.noise(8.0), gap=2)
    kept = np.isin(region.labels(), (RIGHT_KIDNEY, LEFT_KIDNEY, STOMACH, GALLBLADDER))
    shape = np.where(kept, FAR, shape)
    region.paint(shape - rng.uniform(0, 2), patient.hu["visceral_fat"] if rng.random() < 0.7 else patient.hu["muscle"])
    filling = rng.choice(["fluid", "collapsed", "contrast"], p=[0.45, 0.4, 0.15])
    contents: dict[str, np.ndarray | float] = {
        "fluid": rng.uniform(0, 30) + 12 * region.noise(8.0), "collapsed": patient.hu["duodenum_wall"] - 8,
        "contrast": rng.uniform(90, 350) + 30 * region.noise(8.0),
    }  # fmt: skip
    gas = rng.uniform(0.05, 0.6) if rng.random() < 0.45 else 0.0
    paint_gut(region, patient, shape, rng.uniform(2.5, 4), "duodenum_wall", contents[filling], DUODENUM, gas)


def draw_esophagus(scene: Scene, patient: Patient) -> None:
    """Draw the esophagus, in front of the aorta and through the hiatus to the stomach, sometimes with air."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-40, -70, 50), (60, 40, 340), 10)
    if region.empty:
        return
    r = rng.uniform(6.4, 10.0)
    pts = np.array(
        [
            (2, -4, 320, 0.8), (2, -6, 240, 0.9), (3, -10, 180, 0.95), (5, -18, 130, 1.0), (9, -32, 98, 1.05),
            (18, -45, 82, 1.05), (32, -42, 71, 1.05), (42, -36, 68, 0.9),
        ]
    )  # fmt: skip
    pts[:-2, :2] += rng.normal(0, 2, (6, 2))
    pts[:, 3] *= r
    shape = region.tube(pts) + 0.7 * region.noise(8.0)
    shape = np.where(region.labels() == STOMACH, FAR, shape)
    region.paint(shape - 2, hu["visceral_fat"])
    region.paint(shape, hu["esophagus_wall"] + 4 * region.noise(8.0), ESOPHAGUS, loose=rng.uniform(0, 0.8))
    if rng.random() < 0.6:
        air = region.tube(np.c_[pts[:, :3], np.full(len(pts), rng.uniform(1.5, 4.5))], pad=3) + 2 * region.noise(20.0)
        region.paint(np.maximum(air, shape + 3), -700.0 if rng.random() < 0.7 else 10.0)
