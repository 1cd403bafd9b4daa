"""Bowel, mesentery and pelvic organs, which are all background.

`paint_gut` paints hollow organs, also the stomach and the duodenum (`digestive`).
"""

from __future__ import annotations

import numpy as np

from train.synthetic.body.patient import Patient
from train.synthetic.body.scene import Region, Scene


def paint_gut(
    region: Region, patient: Patient, shape: np.ndarray, wall: float, wall_name: str, content: np.ndarray | float,
    label: int = 0, gas: float = 0.0,
) -> None:  # fmt: skip
    """Paint a hollow organ: wall, content, and gas, which rises to the front of a supine patient.

    `gas` is the fraction of the lumen filled with gas.
    """
    if region.empty:
        return
    hu = patient.hu
    region.paint(shape, hu[wall_name] + 4 * region.noise(8.0), label)
    lumen = shape + wall
    region.paint(lumen, content)
    if gas > 0:
        inside = lumen < 0
        if inside.any():
            # The fluid level is horizontal in the scanner, so it is set in voxel rows, not in warped coordinates.
            rows = np.broadcast_to(
                np.arange(region.shape[1], dtype=np.float32)[None, :, None] * region.scene.spacing[1], region.shape
            )
            level = np.quantile(rows[inside], min(gas, 1.0))
            region.paint(np.maximum(lumen, rows - level), -960.0 + 20 * region.noise(8.0))


def draw_mesentery(scene: Scene, patient: Patient) -> None:
    """Draw vessels and strands in the mesenteric and omental fat, and a few lymph nodes."""
    rng, hu = scene.rng, patient.hu
    root = np.array([0.0, -58.0, -55.0])
    for _ in range(int(rng.integers(30, 60))):
        goal = np.array([rng.uniform(-95, 95), rng.uniform(-92, -40), rng.uniform(-190, 10)])
        middle = root + (goal - root) * 0.5 + rng.normal(0, 9, 3)
        width = rng.uniform(1.0, 2.4)
        region = scene.region(np.minimum(root, goal), np.maximum(root, goal), 16)
        strand = region.tube([(*root, width + 0.8), (*middle, width), (*goal, width * 0.7)], pad=5)
        name = "portal_vein" if rng.random() < 0.6 else "arteries"
        region.paint(region.confined(strand, gap=3), hu[name])
    for _ in range(int(rng.integers(4, 14))):
        at = np.array([rng.uniform(-40, 45), rng.uniform(-60, -28), rng.uniform(-130, 30)])
        region = scene.region(at - 8, at + 8)
        node = region.ellipsoid(at, rng.uniform(2.0, 5.5, 3))
        region.paint(region.confined(node), hu["muscle"] + rng.normal(5, 10))


def _serpentine(rng: np.random.Generator, x: tuple[float, float], y: float, z: tuple[float, float]) -> np.ndarray:
    """Points (x, y, z) of a bowel loop that winds through a layer, from z[0] down to z[1] or from side to side."""
    (right, left), (top, bottom) = x, z
    points, turn = [], 1
    if rng.random() < 0.35:  # runs from side to side
        while top > bottom:
            narrow = rng.uniform(0.55, 1.0) * (0.75 if top < -190 else 1)
            for share in np.linspace(-turn, turn, 5 if right < 0 else 3) * narrow:
                points.append((0.5 * (right + left) + share * 0.5 * (left - right), y, top))
            turn, top = -turn, top - rng.uniform(20, 32)
    else:  # runs up and down
        at = right
        while at < left:
            short = 1 - 0.45 * (2 * (at - right) / (left - right) - 1) ** 2  # the pelvis is narrow
            high, low = top - rng.uniform(0, 25), top + (bottom - top) * short * rng.uniform(0.75, 1)
            number = max(int((high - low) / 30), 2)
            points += [(at, y, level) for level in np.linspace(high, low, number)[::turn]]
            turn, at = -turn, at + rng.uniform(22, 34)
    return np.array(points) + rng.normal(0, (6, 10, 8), (len(points), 3))


def draw_small_bowel(scene: Scene, patient: Patient) -> None:
    """Draw small bowel loops in layers behind the anterior wall, filled with fluid, gas or oral contrast."""
    rng = scene.rng
    oral = rng.random() < 0.2
    gassy = rng.choice([0.06, 0.2, 0.45], p=[0.4, 0.4, 0.2])
    lift = rng.uniform(-15, 15)
    layers = [(y, -88, 88, rng.uniform(-50, -15) + lift, -225) for y in rng.permutation([-90, -72, -54, -38])]
    layers = layers[: int(rng.integers(3, 5))]
    layers += [(y, 34, 98, rng.uniform(-5, 20), -60) for y in (-64, -36)]  # jejunum, below stomach and pancreas
    for layer_y, right, left, z, bottom in layers:
        left_over = _serpentine(rng, (right, left), layer_y, (z, bottom))
        calibre = np.clip(rng.normal(12.0, 2.2), 8, 18)
        while len(left_over) > 4:  # segments, each with its own content
            n = int(rng.integers(5, 11))
            part, left_over = left_over[:n], left_over[n - 1 :]
            if len(part) < 3 or rng.random() < 0.06:
                continue
            radii = calibre * rng.uniform(0.72, 1.15, len(part))
            region = scene.region(part.min(0), part.max(0), 28)
            if region.empty:
                continue
            tube = region.confined(region.tube(np.c_[part, radii]) + 1.2 * region.noise(8.0), gap=4)
            content = rng.uniform(0, 35) + 14 * region.noise(3.5)
            if oral and rng.random() < 0.7:
                content = rng.uniform(120, 380) + 40 * region.noise(8.0)
            gas = rng.uniform(0.15, 0.8) if rng.random() < gassy else 0.0
            region.paint(tube - rng.uniform(0.5, 2.5), patient.hu["visceral_fat"])
            paint_gut(region, patient, tube, rng.uniform(1.8, 3.2), "bowel_wall", content, gas=gas)


def draw_pelvic_organs(scene: Scene, patient: Patient) -> None:
    """Draw the urinary bladder at a random filling, and the uterus behind it or the prostate below it."""
    rng = scene.rng
    region = scene.region((-60, -95, -330), (60, 20, -200))
    if region.empty:
        return
    full = rng.uniform(0.6, 1.25)
    at = (rng.normal(0, 4), -42, -272 + 10 * full)
    shape = region.ellipsoid(at, np.array([42, 32, 36]) * full)
    shape = np.maximum(shape, 3 - scene.barrier[region.box])
    region.paint(shape - 8, patient.hu["visceral_fat"])
    region.paint(shape, patient.hu["muscle"] - 10)
    settled = patient.hu["urine"] * (1 if patient.phase != "delayed" else np.clip((region.y - at[1]) / 12, 0, 1))
    region.paint(shape + 3.5, settled)
    if patient.female and rng.random() < 0.85:
        size = rng.uniform(0.6, 1.2)
        uterus = region.ellipsoid((rng.normal(0, 8), -4, -262 + rng.normal(0, 6)), np.array([26, 20, 30]) * size)
        uterus = np.maximum(np.maximum(uterus + 1.5 * region.noise(20.0), 2 - shape), 3 - scene.barrier[region.box])
        region.paint(uterus - 3, patient.hu["visceral_fat"])
        region.paint(uterus, 0.5 * (patient.hu["muscle"] + patient.hu["bowel_wall"]) + 4 * region.noise(8.0))
    elif not patient.female:
        gland = region.ellipsoid((0, -32, -312), np.array([24, 17, 18]) * rng.uniform(0.8, 1.35))
        region.paint(np.maximum(gland, 2 - shape), patient.hu["muscle"] + 8 + 5 * region.noise(8.0))


def draw_colon(scene: Scene, patient: Patient) -> None:
    """Draw the colon with haustra; each segment contains gas, stool or fluid, or is collapsed."""
    rng = scene.rng
    droop = rng.uniform(-45, 12)
    calibre = rng.uniform(0.72, 1.2)
    stretches: list[list[tuple[float, float, float, float]]] = [
        [(-82, -38, -168, 22), (-88, -34, -140, 29), (-95, -22, -105, 26), (-97, -18, -70, 24), (-88, -34, -45, 22)],
        [(-88, -34, -45, 22), (-74, -60, -42, 22), (-50, -82, -44 + droop * 0.6, 22), (-15, -88, -52 + droop, 22)],
        [(-15, -88, -52 + droop, 22), (25, -89, -50 + droop, 21), (58, -80, -28 + droop * 0.5, 20), (84, -60, 8, 20)],
        [(84, -60, 8, 20), (102, -38, 34, 20), (110, -12, 28, 18), (108, 8, -5, 15), (104, 16, -50, 14)],
        [(104, 16, -50, 14), (102, 14, -95, 13), (96, 2, -135, 13), (84, -24, -170, 14)],
        [(84, -24, -170, 14), (55, -48, -185, 15), (20, -38, -172, 15), (5, -8, -185, 15), (0, 14, -215, 17)],
        [(0, 14, -215, 17), (0, 30, -245, 20), (0, 28, -285, 18), (0, 26, -330, 14)],
    ]
    nodes: dict[tuple[float, ...], np.ndarray] = {}
    for part in stretches:
        for p in part:  # adjacent segments share their end point
            if p not in nodes:
                nodes[p] = np.array(p) * (1, 1, 1, calibre * rng.uniform(0.6, 1.15))
                nodes[p][:3] += rng.normal(0, (6, 6, 8))
        pts = np.array([nodes[p] for p in part])
        region = scene.region(pts[:, :3].min(0), pts[:, :3].max(0), 30)
        if region.empty:
            continue
        haustra = 2.2 * np.sin(0.2 * (region.x + region.z + 0.7 * region.y) + rng.uniform(0, 6))
        shape = region.confined(region.tube(pts) + haustra + 1.2 * region.noise(8.0), gap=3)
        region.paint(shape - rng.uniform(1, 4), patient.hu["visceral_fat"])
        kind = rng.choice(["stool", "gas", "fluid", "collapsed"], p=[0.44, 0.3, 0.1, 0.16])
        if kind == "collapsed":
            shape = shape + 5
        stool = rng.uniform(-40, 60) - 260 * np.clip(region.noise(3.5) - rng.uniform(-0.2, 1.0), 0, 2.5)
        contents: dict[str, np.ndarray | float]
        contents = {"stool": stool, "gas": stool, "fluid": rng.uniform(0, 40), "collapsed": patient.hu["bowel_wall"]}
        gas = {"stool": rng.uniform(0, 0.3), "gas": rng.uniform(0.5, 1.0), "fluid": 0.25, "collapsed": 0.0}[kind]
        paint_gut(region, patient, shape, rng.uniform(1.8, 3.0), "bowel_wall", contents[kind], gas=gas)
