"""The phantom's trunk: skin, fat, muscles, diaphragm, chest and bones - the room the organs are drawn into.

All of it is background to the network; what counts is that the organs get their real neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from train.shapes import Region, Scene, blend, carve, turned

# Trunk wall from inside: z, half width, front (-y), back (+y), thickness of the muscle.
_TRUNK = np.array(
    [
        (-330, 112, 62, 70, 34),
        (-280, 116, 70, 72, 34),
        (-220, 118, 82, 66, 30),
        (-165, 122, 92, 52, 20),
        (-120, 120, 98, 44, 15),
        (-60, 122, 102, 44, 14),
        (0, 128, 104, 52, 13),
        (60, 131, 106, 66, 13),
        (120, 131, 105, 70, 13),
        (180, 124, 94, 66, 16),
        (240, 104, 74, 58, 26),
        (300, 76, 52, 50, 45),
    ],
    dtype=np.float32,
)
_VERTEBRA_PITCH = ((-400, 36.0), (-141, 36.0), (0, 33.5), (60, 28.0), (300, 23.0))


@dataclass
class Patient:
    """What the organs of one patient share: grey values, fatness, and where some organs came to lie."""

    hu: dict[str, float]
    phase: str
    fat_mm: float
    visceral_mm: float
    arms: bool
    left_dome: float = 84.0
    """Height of the left dome of the diaphragm, which carries the stomach's fundus and the spleen with it."""
    shift: dict[str, np.ndarray] = field(default_factory=dict)

    def moved(self, organ: str, rng: np.random.Generator, sd: float) -> np.ndarray:
        """This patient's displacement (x, y, z) of an organ from its standard place; drawn once."""
        if organ not in self.shift:
            self.shift[organ] = np.clip(rng.normal(0, sd, 3), -2 * sd, 2 * sd)
        return self.shift[organ]


def draw_trunk(scene: Scene, patient: Patient) -> None:
    """Skin, subcutaneous fat, wall muscles, the fat inside; sets the distance to the cavity."""
    region, hu, rng = scene.everything(), patient.hu, scene.rng
    z, half, front, back, muscle = _TRUNK.T
    at = scene.axes[0]
    a, f, b, m = (np.interp(at, z, column).astype(np.float32)[:, None, None] for column in (half, front, back, muscle))
    middle = (b - f) / 2
    dy = region.y - middle
    n = np.float32(rng.uniform(2.3, 3.0))
    power = np.power(np.abs(region.x) / a, n) + np.power(np.abs(dy) / ((f + b) / 2), n)
    radius = np.hypot(region.x, dy)
    scene.cavity = (radius * (1 - np.power(np.maximum(power, 1e-6), -1 / n))).astype(np.float32)
    outline = scene.cavity
    scene.cavity = _without_back_muscles(region, scene.cavity)
    behind = np.clip(dy / np.maximum(radius, 1), 0, 1)
    before = np.clip(-dy / np.maximum(radius, 1), 0, 1)
    flat_back = 24 * np.clip((behind - 0.25) / 0.5, 0, 1) - 7 * np.exp(-((region.x / 14) ** 2)) * (behind > 0.5)
    beside_spine = 0.3 + 0.7 * np.exp(-((region.x / 68) ** 4))
    covered = outline - m * (1 - 0.35 * before**4)
    muscle_outer = covered - flat_back * beside_spine
    scene.flesh = muscle_outer
    lumbar = np.exp(-(((region.z + 90) / 110) ** 2))
    fat = patient.fat_mm * (0.75 + 0.55 * lumbar) * (1 + 0.3 * behind**2) + 2
    skin = np.minimum(covered - 0.85 * flat_back, muscle_outer) - fat + 1.5 * region.noise(20.0)
    if rng.random() < 0.4:
        skin = _with_breasts(region, patient, skin)
    if patient.arms:
        draw_arms(scene, patient)
    region.paint(skin, hu["skin"], 0)
    region.paint(skin + rng.uniform(1.5, 2.5), hu["fat"] + 6 * region.noise(8.0))
    marbled = hu["muscle"] - np.clip(rng.uniform(6, 26) * (region.noise(8.0) + 0.3), 0, 70)
    layers = np.abs(outline / m - 0.4) - 0.06  # the fat planes between the flat muscles
    region.paint(muscle_outer + 1.0 * region.noise(20.0), marbled)
    flank = np.maximum(layers * m, np.maximum(before, behind) * 40 - 32)
    region.paint(flank, 0.5 * (hu["fat"] + hu["muscle"]))
    region.paint(scene.cavity, hu["visceral_fat"] + 7 * region.noise(8.0))
    navel = region.ellipsoid((rng.normal(0, 4), -1.0 * np.interp(-105, z, front) - 24, -105), (3, 22, 4))
    region.paint(np.maximum(navel, skin), hu["muscle"])
    scene.abdomen = scene.cavity.copy()


def _with_breasts(region: Region, patient: Patient, skin: np.ndarray) -> np.ndarray:
    """The outline with breasts, flattened and fallen to the sides as they are in a patient on the back."""
    rng = region.scene.rng
    size = rng.uniform(38, 62)
    at = (rng.uniform(72, 98), -104 - 0.4 * patient.fat_mm, rng.uniform(130, 165))
    for side in (-1, 1):
        skin = blend(skin, region.ellipsoid((side * at[0], *at[1:]), (size, size * 0.62, size)), 16)
    return skin


def _without_back_muscles(region: Region, cavity: np.ndarray) -> np.ndarray:
    """The cavity minus the block of muscles behind and beside the spine; leaves the gutters of lungs and flanks."""
    at = region.scene.axes[0]
    half = np.interp(at, (-200, -60, 20, 90, 200), (70, 66, 52, 40, 38)).astype(np.float32)[:, None, None]
    front = np.interp(at, (-200, -60, 20, 90, 200), (34, 31, 36, 42, 44)).astype(np.float32)[:, None, None]
    block = blend(np.abs(region.x) - half, front - region.y, -14)
    return carve(cavity, block, 14)


def draw_arms(scene: Scene, patient: Patient) -> None:
    """Upper arms and forearms beside the trunk."""
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
        _paint_bone(region, patient, bone, 3.5)


def draw_diaphragm_and_chest(scene: Scene, patient: Patient) -> None:
    """Lungs on the domes of the diaphragm, the mediastinum and the heart; confines the abdomen below the domes."""
    region, hu, rng = scene.region((-160, -140, -40), (160, 110, 340)), patient.hu, scene.rng
    if region.empty:
        return
    breath = rng.normal(0, 8)
    patient.left_dome = 83 + breath + rng.normal(0, 5)
    right = _dome(region, -66 + rng.normal(0, 4), -14, 96 + breath)
    left = _dome(region, 64 + rng.normal(0, 4), -10, patient.left_dome)
    middle = 80 + breath - 0.55 * np.clip(region.y + 10, 0, None) - 0.012 * region.x**2
    above = region.z - np.maximum(np.maximum(right, left), middle)
    above *= 0.75  # the domes are steep, so height above them exceeds distance
    cavity = region.cavity()
    view = scene.abdomen[region.box]
    np.maximum(view, above + 2.0, out=view)
    region.paint(np.maximum(np.abs(above) - 2.2, cavity), hu["muscle"])
    draw_ascites(scene, patient)
    chest = np.maximum(cavity, -above)
    half = np.interp(scene.axes[0], (60, 110, 160, 230), (16, 24, 30, 36)).astype(np.float32)[region.box[0]]
    mediastinum = np.abs(region.x - 6) - half[:, None, None] - 10 * np.clip(-(region.y + 40) / 60, -0.6, 0.6)
    heart_at = (22 + rng.normal(0, 5), -62 + rng.normal(0, 4), 124 + breath)
    heart = region.ellipsoid(heart_at, np.array([62, 42, 46]) * rng.uniform(0.88, 1.12), turned(0, 14, 38))
    fatty = rng.uniform(3, 9)
    lung = np.maximum(np.maximum(chest, -mediastinum), -(heart - fatty))
    vessels = 650 * np.clip(region.noise(3.5) - 2.0, 0, 1) + 180 * np.clip(region.noise(8.0) - 1.5, 0, 1)
    depend = np.clip((region.y - 20) / 60, 0, 1) * rng.uniform(0, 120)
    region.paint(lung + 1.0, hu["lung"] + vessels + depend + 15 * region.noise(20.0), 0)
    if rng.random() < 0.12:  # an effusion settles behind
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
    """In a few patients fluid lies round the organs, most of it behind."""
    rng = scene.rng
    if rng.random() > 0.06:
        return
    region = scene.everything()
    film = -region.abdomen() - rng.uniform(4, 16) * np.clip(1 + (region.y + 20) / 70 + 0.4 * region.noise(20.0), 0, 3)
    region.paint(np.maximum(region.abdomen(), film), rng.uniform(2, 22))


def _dome(region: Region, x: float, y: float, top: float) -> np.ndarray:
    """Height (mm) of one dome of the diaphragm over each voxel; it falls off into the costophrenic recess."""
    rho2 = ((region.x - x) / 78) ** 2 + ((region.y - y) / np.where(region.y < y, 108, 86)) ** 2
    return top - 62 + 62 * np.sqrt(np.maximum(1 - rho2, 0)) - 95 * np.maximum(np.sqrt(rho2) - 1, 0)


def draw_deep_muscles(scene: Scene, patient: Patient) -> None:
    """Back muscles, psoas, quadratus lumborum and the crura of the diaphragm."""
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


def draw_bones(scene: Scene, patient: Patient) -> None:
    """Ribs, spine and pelvis."""
    draw_ribs(scene, patient)
    draw_spine(scene, patient)
    draw_pelvis(scene, patient)


def draw_ribs(scene: Scene, patient: Patient) -> None:
    """Ten pairs of ribs running round the wall and downwards to the front, cartilage at their ends."""
    rng, hu = scene.rng, patient.hu
    slope = rng.uniform(58, 85)
    pitch = rng.uniform(22, 26)
    for k in range(12):
        start = 30 + pitch * k - (8 if k == 0 else 0)
        reach = (0.36, 0.55, 0.78, 0.84, 0.88)[min(k, 4)] * np.pi
        angles = np.linspace(0.16 * np.pi, reach, 12)
        z = start - slope * (1 - np.cos(angles)) / 2 * (0.6 if k < 2 else 1) + 8
        half, front, back = (np.interp(z, _TRUNK[:, 0], _TRUNK[:, c]) for c in (1, 2, 3))
        depth, middle = (front + back) / 2 + 5, (back - front) / 2
        for side in (-1, 1):
            # Superellipse of about the trunk's shape, so that a rib stays in the wall.
            c, s = np.cos(angles), np.sin(angles)
            x = side * (half + 5) * np.sign(s) * np.abs(s) ** 0.85
            y = middle + depth * np.sign(c) * np.abs(c) ** 0.85
            y = np.where(angles < 0.3 * np.pi, np.minimum(y, middle + depth * 0.93), y)
            r = np.full(12, 4.6)
            points = np.c_[x, y, z, r]
            low, high = points[:, :3].min(0), points[:, :3].max(0)
            region = scene.region(low, high, 10)
            if region.empty:
                continue
            split = 9 if k > 1 else 12
            bone = region.tube(points[:split], pad=4, smooth=False)
            _paint_bone(region, patient, bone, 2.0)
            if split < 12:
                gristle = region.tube(points[split - 1 :], pad=4, smooth=False)
                region.paint(gristle, hu["cartilage"] + 30 * region.noise(8.0), 0)


def _paint_bone(region: Region, patient: Patient, shape: np.ndarray, cortex: float) -> None:
    """A bone: dense shell of `cortex` mm round a spongy inside."""
    region.paint(shape, patient.hu["cortical_bone"] + 60 * region.noise(8.0), 0)
    region.paint(shape + cortex, patient.hu["spongy_bone"] + 40 * region.noise(3.5))


def _spine_y(z: np.ndarray) -> np.ndarray:
    """Front-back position of the vertebral bodies: lumbar lordosis, thoracic kyphosis."""
    return np.interp(z, (-165, -120, -60, 0, 60, 120, 200, 300), (6, -4, -5, 0, 8, 16, 22, 16)).astype(np.float32)


def draw_spine(scene: Scene, patient: Patient) -> None:
    """Vertebral bodies and discs, the canal, laminae, spinous and transverse processes; sacrum is in `draw_pelvis`."""
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
    level -= np.interp(0, fine, level)  # whole numbers are middles of vertebrae
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
    _paint_bone(region, patient, body + 0.7 * region.noise(8.0), 1.2)
    _paint_bone(region, patient, bone + 0.8 * region.noise(8.0), 2.0)
    region.paint(canal, 25 + 12 * region.noise(8.0), 0)
    region.bar(np.minimum(column, bone))


def draw_pelvis(scene: Scene, patient: Patient) -> None:
    """Sacrum, iliac wings, hip joints and pubis, with the gluteal and iliacus muscles on them."""
    region = scene.region((-170, -110, -380), (170, 130, -105))
    if region.empty:
        return
    hu = patient.hu
    side = np.abs(region.x)
    # The wing is a bent sheet running from behind and medial to in front and lateral.
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
    tilt = region.z + 185 - 0.75 * (region.y - 35)
    sacrum = np.sqrt((side / (50 + 0.22 * tilt)) ** 2 + (tilt / 62) ** 2)
    sheet = np.abs(0.8 * (region.y - 38) + 0.55 * (region.z + 185) + 0.004 * tilt**2) - 17
    sacrum = np.maximum((sacrum - 1) * 40, sheet)
    bone = np.minimum(bone, sacrum)
    _paint_bone(region, patient, bone + 0.8 * region.noise(8.0), 2.6)
    region.bar(bone)
