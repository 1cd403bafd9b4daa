"""Bones of the phantom: ribs and sternum, spine, pelvis with its muscles."""

from __future__ import annotations

import numpy as np

from train.synthetic.body.patient import Patient
from train.synthetic.body.scene import Region, Scene

_VERTEBRA_PITCH = ((-400, 36.0), (-141, 36.0), (0, 33.5), (60, 28.0), (300, 23.0))


def draw_bones(scene: Scene, patient: Patient, trunk: np.ndarray) -> None:
    """Draw ribs, spine and pelvis; `trunk` is the table of the trunk wall (`trunk.TRUNK`), which contains the ribs."""
    draw_ribs(scene, patient, trunk)
    draw_spine(scene, patient)
    draw_pelvis(scene, patient)


def draw_ribs(scene: Scene, patient: Patient, trunk: np.ndarray) -> None:
    """Draw twelve pairs of ribs, sloping down from the spine to the front, with costal cartilage and sternum."""
    rng, hu = scene.rng, patient.hu
    slope = rng.uniform(58, 85)
    pitch = rng.uniform(22, 26)
    for k in range(12):
        start = 30 + pitch * k - (8 if k == 0 else 0)
        reach = (0.36, 0.55, 0.78, 0.84, 0.9, 0.93)[min(k, 5)] * np.pi
        angles = np.linspace(0.13 * np.pi, reach, 12)
        z = start - slope * (1 - np.cos(angles)) / 2 * (0.6 if k < 2 else 1) + 8
        half, front, back = (np.interp(z, trunk[:, 0], trunk[:, c]) for c in (1, 2, 3))
        depth, middle = (front + back) / 2 + 5, (back - front) / 2
        for side in (-1, 1):
            # A superellipse like the outline of the trunk keeps the rib inside the wall.
            c, s = np.cos(angles), np.sin(angles)
            power = 2 / np.where(c > 0, patient.roundness[1], patient.roundness[0])
            x = side * (half + 5) * np.abs(s) ** power
            y = middle + depth * np.sign(c) * np.abs(c) ** power
            y = np.where(angles < 0.3 * np.pi, np.minimum(y, middle + depth * 0.93), y)
            points = np.c_[x, y, z, np.full(12, 4.6)]
            head = float(_spine_y(np.array(start + 14.0))) + 24
            points = np.r_[[(side * 26, head, start + 14, 4), (side * 48, y[0] - 4, start + 11, 4.4)], points]
            low, high = points[:, :3].min(0), points[:, :3].max(0)
            region = scene.region(low, high, 10)
            if region.empty:
                continue
            split = 11 if k > 1 else 14
            bone = region.tube(points[:split], pad=4, smooth=False)
            paint_bone(region, patient, bone, 2.0)
            if split < 14:
                cartilage = region.tube(points[split - 1 :], pad=4, smooth=False)
                region.paint(cartilage, hu["cartilage"] + 30 * region.noise(8.0), 0)
    _draw_sternum(scene, patient, trunk)


def _draw_sternum(scene: Scene, patient: Patient, trunk: np.ndarray) -> None:
    region = scene.region((-30, -150, 70), (30, -40, 320))
    if region.empty:
        return
    front = np.interp(scene.axes[0], trunk[:, 0], trunk[:, 2]).astype(np.float32)[region.box[0]][:, None, None]
    half = 16 - 10 * np.clip((130 - region.z) / 50, 0, 1)  # tapers towards the xiphoid process
    flat = np.maximum(np.abs(region.x) - half, np.abs(region.y + front + 5) - 4.5)
    paint_bone(region, patient, np.maximum(flat, 88 - region.z) + 0.6 * region.noise(8.0), 1.5)


def paint_bone(region: Region, patient: Patient, shape: np.ndarray, cortex: float, density: float = 1.0) -> None:
    """Paint a bone: cortical shell of `cortex` mm around trabecular bone; `density` scales the HU of the cortex."""
    region.paint(shape, density * patient.hu["cortical_bone"] + 60 * region.noise(8.0), 0)
    region.paint(shape + cortex, patient.hu["spongy_bone"] + 40 * region.noise(3.5))


def _spine_y(z: np.ndarray) -> np.ndarray:
    """Front-back position of the vertebral bodies: lumbar lordosis, thoracic kyphosis."""
    return np.interp(z, (-165, -120, -60, 0, 60, 120, 200, 300), (6, -4, -5, 0, 8, 16, 22, 16)).astype(np.float32)


def draw_spine(scene: Scene, patient: Patient) -> None:
    """Draw vertebral bodies, discs, spinal canal, laminae and processes; the sacrum is part of `draw_pelvis`."""
    hu = patient.hu
    region = scene.region((-52, -35, -165), (52, 95, 340))
    if region.empty:
        return
    z = region.z
    axis = scene.axes[0][region.box[0]]
    y = region.y - _spine_y(axis)[:, None, None]
    knots, pitch = zip(*_VERTEBRA_PITCH, strict=True)
    fine = np.arange(-400, 401, 1.0)
    level = np.cumsum(1 / np.interp(fine, knots, pitch))
    level -= np.interp(0, fine, level)  # integers are centres of vertebrae
    phase = np.interp(z, fine, level).astype(np.float32)
    within = np.abs(phase - np.rint(phase)) * np.interp(axis, knots, pitch).astype(np.float32)[:, None, None]
    half = (np.interp(axis, knots, pitch) / 2).astype(np.float32)[:, None, None]
    size = np.interp(axis, (-140, 0, 120, 300), (25.5, 22.5, 17, 14)).astype(np.float32)[:, None, None]
    waist = 1 - 0.1 * np.cos(np.pi * np.clip(within / half, 0, 1)) ** 2
    depth = size * 0.72
    column = np.sqrt((region.x / (size * waist)) ** 2 + (y / (depth * waist)) ** 2)
    column = (column - 1) * depth
    disc_half = np.interp(axis, (-140, 0, 120), (5.5, 4.0, 2.2)).astype(np.float32)[:, None, None]
    body = np.maximum(column, within - (half - disc_half))
    canal_y = depth + 8
    canal = np.hypot(region.x * 0.8, y - canal_y) - 7.5
    ring = np.maximum(np.hypot(region.x * 0.75, y - canal_y) - 13.5, within - half * 0.8)
    ring = np.maximum(ring, -y + depth * 0.6)
    tail = np.abs(region.x) - 3.2
    spinous = np.maximum(np.maximum(tail, within + 0.25 * (y - canal_y) - half * 0.75), np.abs(y - canal_y - 20) - 14)
    reach = np.interp(axis, (-140, 0, 30, 200), (40, 36, 30, 28)).astype(np.float32)[:, None, None]
    wings = np.hypot(within, y - canal_y + 5 - 0.12 * np.abs(region.x)) - 4.5
    wings = np.maximum(wings, np.maximum(np.abs(region.x) - reach, 9 - np.abs(region.x)))
    facets = np.hypot(np.abs(region.x) - 15, y - canal_y - 6) - 7.5
    bone = np.minimum(np.minimum(ring, spinous), np.minimum(wings, facets))
    region.paint(column, hu["disc"], 0)
    paint_bone(region, patient, body + 0.7 * region.noise(8.0), 1.2)
    paint_bone(region, patient, bone + 0.8 * region.noise(8.0), 2.0)
    region.paint(canal, 25 + 12 * region.noise(8.0), 0)
    region.bar(np.minimum(column, bone))


def draw_pelvis(scene: Scene, patient: Patient) -> None:
    """Draw sacrum, iliac wings, hip joints and pubis, with the gluteal muscles."""
    region = scene.region((-170, -110, -380), (170, 130, -105))
    if region.empty:
        return
    hu = patient.hu
    side = np.abs(region.x) / np.float32(1.05 if patient.female else 0.98)  # women's pelves are wider
    # The iliac wing is a curved sheet from posteromedial to anterolateral.
    along = 0.62 * (side - 82) - 0.78 * (region.y + 5)
    across = 0.78 * (side - 82) + 0.62 * (region.y + 5) - 0.16 * (region.z + 175)
    across = across + 0.0035 * along**2 - 4
    extent = np.sqrt((along / 76) ** 2 + ((region.z + 180) / 58) ** 2)
    wing = np.maximum(np.abs(across) - 3.5 - 4 * np.clip(extent - 0.55, 0, 1), (extent - 1) * 45)
    socket = np.sqrt((side - 92) ** 2 + (region.y + 8) ** 2 + ((region.z + 262) * 0.9) ** 2)
    pillar = np.sqrt((side - 84) ** 2 + (region.y + 2) ** 2 * 0.8) - 17
    pillar = np.maximum(pillar, np.abs(region.z + 232) - 26)
    ring = np.maximum(np.abs(np.hypot(side * 0.75, region.y + 8) - 52) - 7, np.abs(region.z + 284) - 9)
    ring = np.maximum(ring, region.y + 12)
    gluteal = np.maximum(np.abs(across - 16) - 20, (extent - 1.02) * 45)
    gluteal = np.maximum(gluteal, scene.flesh[region.box])
    region.paint(gluteal, hu["muscle"] - 12 * np.clip(region.noise(8.0), 0, 3), 0)
    bone = np.minimum(np.minimum(wing, socket - 25), np.minimum(pillar, ring))
    bone = np.minimum(bone, _thigh_bones(region, side))
    tilt = region.z + 185 - 0.75 * (region.y - 35)
    sacrum = np.sqrt((side / (50 + 0.22 * tilt)) ** 2 + (tilt / 62) ** 2)
    sheet = np.abs(0.8 * (region.y - 38) + 0.55 * (region.z + 185) + 0.004 * tilt**2) - 17
    sacrum = np.maximum((sacrum - 1) * 40, sheet)
    bone = np.minimum(bone, sacrum)
    paint_bone(region, patient, bone + 0.8 * region.noise(8.0), 2.6)
    region.bar(bone)


def _thigh_bones(region: Region, side: np.ndarray) -> np.ndarray:
    """Distance to femoral necks, proximal femoral shafts and ischia."""
    out = region.nothing()
    for (x0, y0, z0, r0), (x1, y1, z1, r1) in (
        ((92, -8, -262, 15), (136, 2, -285, 19)), ((136, 2, -285, 19), (132, 8, -400, 15)),
        ((86, 14, -255, 17), (64, 30, -335, 14)),
    ):  # fmt: skip
        step = np.array([x1 - x0, y1 - y0, z1 - z0], np.float32)
        d = side - np.float32(x0), region.y - np.float32(y0), region.z - np.float32(z0)
        along = np.clip((d[0] * step[0] + d[1] * step[1] + d[2] * step[2]) / (step @ step), 0, 1)
        away = np.sqrt(sum((part - along * length) ** 2 for part, length in zip(d, step, strict=True)))
        out = np.minimum(out, away - (r0 + along * (r1 - r0)))
    return out
