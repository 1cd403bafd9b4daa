"""The organs of the phantom, drawn one after the other into a `train.shapes.Scene`.

Every function draws one thing where anatomy books put it in a standard adult (mm; see `train.shapes` for the axes),
with this patient's own position, size and shape. What is drawn later lies over what is there, labels included, so the
order in `draw_patient` is the order of who gives way to whom.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from train.contrast import draw_hu
from train.shapes import FAR, Point, Region, Scene, blend, carve, turned
from train.trunk import Patient, draw_bones, draw_deep_muscles, draw_diaphragm_and_chest, draw_trunk

LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, AORTA, IVC, RIGHT_ADRENAL = 1, 2, 3, 4, 5, 6, 7
LEFT_ADRENAL, GALLBLADDER, ESOPHAGUS, STOMACH, DUODENUM, LEFT_KIDNEY, TUMOUR = 8, 9, 10, 11, 12, 13, 14


def draw_patient(scene: Scene, phase: str, fat_mm: float, *, arms: bool) -> Patient:
    """Draw a whole patient into the scene; the caller adds what a scanner does."""
    rng = scene.rng
    patient = Patient(draw_hu(rng, phase), phase, fat_mm, float(np.clip(fat_mm / 4 + rng.normal(0, 2), 0.5, 14)), arms)
    draw_trunk(scene, patient)
    draw_diaphragm_and_chest(scene, patient)
    draw_deep_muscles(scene, patient)
    draw_bones(scene, patient)
    draw_mesentery(scene, patient)
    draw_small_bowel(scene, patient)
    draw_bladder(scene, patient)
    draw_colon(scene, patient)
    draw_spleen(scene, patient)
    draw_liver(scene, patient)
    draw_stomach(scene, patient)
    draw_gallbladder(scene, patient)
    draw_kidneys(scene, patient)
    draw_adrenals(scene, patient)
    draw_portal_veins(scene, patient)
    draw_duodenum(scene, patient)
    draw_pancreas(scene, patient)
    draw_mesenteric_vessels(scene, patient)
    draw_esophagus(scene, patient)
    draw_ivc(scene, patient)
    draw_aorta(scene, patient)
    draw_tumours(scene, patient)
    return patient


def _near(place: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    """The point (x, y, z) mm away from a place."""
    return place + np.array([x, y, z], float)


# ------------------------------------------------------------------------------------------------- bowel and mesentery


def _paint_gut(
    region: Region, patient: Patient, shape: np.ndarray, wall: float, wall_name: str, content: np.ndarray | float,
    label: int = 0, gas: float = 0.0,
) -> None:  # fmt: skip
    """A hollow organ: wall, content, and gas that rises to the front of a patient lying on the back.

    `gas` is the share of the content that is gas.
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
            # The level is flat in the world, so it is set in voxel rows rather than in bent coordinates.
            rows = np.broadcast_to(
                np.arange(region.shape[1], dtype=np.float32)[None, :, None] * region.scene.spacing[1], region.shape
            )
            level = np.quantile(rows[inside], min(gas, 1.0))
            region.paint(np.maximum(lumen, rows - level), -960.0 + 20 * region.noise(8.0))


def draw_mesentery(scene: Scene, patient: Patient) -> None:
    """Vessels and strands fanning out in the fat of the mesentery and the omentum, a few lymph nodes."""
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


def draw_small_bowel(scene: Scene, patient: Patient) -> None:
    """Loops in layers behind the front wall, each layer a serpentine of its own; wall, folds, fluid or contrast."""
    rng = scene.rng
    oral = rng.random() < 0.2
    lift = rng.uniform(-15, 15)
    layers = [(y, -88, 88, rng.uniform(-50, -15) + lift, -225) for y in rng.permutation([-90, -72, -54, -38])]
    layers = layers[: int(rng.integers(3, 5))]
    layers += [(y, 34, 98, rng.uniform(-5, 20), -60) for y in (-64, -36)]  # jejunum, below stomach and pancreas
    for layer_y, right, left, z, bottom in layers:
        points, direction = [], rng.choice([-1, 1])
        while z > bottom:
            narrow = rng.uniform(0.55, 1.0) * (0.75 if z < -190 else 1)
            for x in np.linspace(-1, 1, 5 if right < 0 else 3) * direction * narrow * (left - right) / 2:
                points.append(np.array([x + (left + right) / 2, layer_y, z]) + rng.normal(0, (5, 9, 8)))
            direction, z = -direction, z - rng.uniform(20, 32)
        left_over = np.array(points)
        calibre = np.clip(rng.normal(12.0, 2.2), 8, 18)
        while len(left_over) > 4:  # stretches of bowel, each with a filling of its own
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
            gas = rng.uniform(0.15, 0.7) if rng.random() < 0.16 else 0.0
            region.paint(tube - rng.uniform(0.5, 2.5), patient.hu["visceral_fat"])
            _paint_gut(region, patient, tube, rng.uniform(1.8, 3.2), "bowel_wall", content, gas=gas)


def draw_bladder(scene: Scene, patient: Patient) -> None:
    """The urinary bladder, full to varying degree."""
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


def draw_colon(scene: Scene, patient: Patient) -> None:
    """The frame of the colon with haustra; gas, stool or fluid, changing from stretch to stretch."""
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
        for p in part:  # neighbours share their end point, wherever it moves
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
        kind = rng.choice(["stool", "gas", "fluid", "collapsed"], p=[0.42, 0.36, 0.12, 0.10])
        stool = rng.uniform(-10, 60) - 260 * np.clip(region.noise(3.5) - rng.uniform(0.1, 1.0), 0, 2.5)
        contents: dict[str, np.ndarray | float]
        contents = {"stool": stool, "gas": stool, "fluid": rng.uniform(0, 40), "collapsed": patient.hu["bowel_wall"]}
        gas = {"stool": rng.uniform(0, 0.3), "gas": rng.uniform(0.5, 1.0), "fluid": 0.25, "collapsed": 0.0}[kind]
        _paint_gut(region, patient, shape, rng.uniform(1.8, 3.0), "bowel_wall", contents[kind], gas=gas)


# ------------------------------------------------------------------------------------------------------ solid organs


def draw_liver(scene: Scene, patient: Patient) -> None:
    """Right lobe under its dome, left lobe across the midline, caudate; fissure, porta, vessels inside."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-150, -130, -125), (135, 90, 130))
    if region.empty:
        return
    move = patient.moved("liver", rng, 4.0)
    size = scene.organ_factor * rng.uniform(0.9, 1.07, 3)
    left = rng.uniform(0.7, 1.2)
    right_lobe = region.ellipsoid(_near(move, -74, -18, 34), np.array([82, 92, 84]) * size, turned(0, 22, 0))
    tail = region.ellipsoid(
        _near(move, -100, -12, -22 + rng.uniform(-22, 12)), np.array([34, 56, 58]) * size, turned(0, 8, 0)
    )
    left_lobe = region.ellipsoid(
        _near(move, 14, -70, 52), np.array([84 * left, 38, 42 * (0.7 + 0.3 * left)]) * size, turned(0, -20, -8)
    )
    caudate = region.ellipsoid(_near(move, -10, -32, 48), np.array([20, 15, 26]) * size)
    liver = blend(blend(right_lobe, tail, 18), blend(left_lobe, caudate, 8), 14)
    # What presses into the under side: kidney and colon from below, the porta and the stomach from the left.
    under = region.ellipsoid((-44, 40, -50), (52, 66, 74), turned(12, 0, 0))
    hilum = region.ellipsoid(_near(move, -16, -46, 2), (26, 26, 26))
    spine_side = region.ellipsoid((18, 10, 40), (48, 40, 140))
    liver = carve(carve(carve(liver, under, 14), hilum, 10), spine_side, 8)
    liver = region.confined(liver + 2.0 * region.noise(20.0), gap=1.0)
    width = rng.uniform(0.5, 3.0) - 0.04 * (region.z - 10)  # a cleft from below, closing upwards
    fissure = np.maximum(np.abs(region.x - move[0] - 8 - 0.3 * (region.z - 40) + 3 * region.noise(20.0)) - width, 0)
    fissure = np.where(fissure > 0, fissure, -width)
    fissure = np.maximum(fissure, region.y + rng.uniform(45, 70))
    liver = np.maximum(liver, -fissure)
    texture = hu["liver"] + 3 * region.noise(8.0) + 4 * region.noise(20.0)
    region.paint(liver, texture, LIVER)
    _draw_liver_vessels(region, patient, liver, move)
    if rng.random() < 0.2:
        _draw_cysts(scene, LIVER, int(rng.integers(1, 4)), (3, 14))


def _draw_liver_vessels(region: Region, patient: Patient, liver: np.ndarray, move: np.ndarray) -> None:
    """Three hepatic veins to the IVC and the tree of the portal vein; part of the liver's label."""
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


def draw_spleen(scene: Scene, patient: Patient) -> None:
    """Behind and lateral on the left, hollowed by stomach and kidney; mottled in the arterial phase."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((20, -80, -60), (150, 100, 125))
    if region.empty:
        return
    move = _near(patient.moved("spleen", rng, 4.0), 0, 0, 0.6 * (patient.left_dome - 83))
    size = scene.organ_factor * rng.uniform(0.92, 1.28) * rng.uniform(0.95, 1.05, 3)
    spleen = region.ellipsoid(_near(move, 97, 18, 47), np.array([38, 50, 56]) * size, turned(-28, -10, 20))
    hollow = region.ellipsoid(_near(move, 45, -22, 34), (42, 50, 66), turned(0, 0, 12))
    spleen = carve(spleen, hollow, 8) + 1.5 * region.noise(20.0)
    spleen = region.confined(spleen, gap=1.5)
    texture = hu["spleen"] + 3 * region.noise(8.0)
    if patient.phase == "arterial":
        texture = texture + rng.uniform(4, 16) * region.noise(20.0)
    region.paint(spleen, texture, SPLEEN)
    if rng.random() < 0.12:
        at = _near(move, 68, -8, 20)
        extra = region.ellipsoid(at, rng.uniform(4, 8, 3))
        region.paint(region.confined(extra), hu["spleen"], 0)


def draw_kidneys(scene: Scene, patient: Patient) -> None:
    """Both kidneys in perirenal fat: cortex, medulla, sinus fat and pelvis. Sinus and pelvis are background."""
    rng = scene.rng
    common = rng.uniform(0.9, 1.08)
    for side, label, at in ((-1, RIGHT_KIDNEY, (-64, -3, -30)), (1, LEFT_KIDNEY, (64, -3, -19))):
        _draw_kidney(scene, patient, side, label, np.array(at, float), common * rng.uniform(0.95, 1.05))


def _draw_kidney(scene: Scene, patient: Patient, side: int, label: int, at: np.ndarray, size: float) -> None:
    rng, hu = scene.rng, patient.hu
    at = at + patient.moved("right kidney" if side < 0 else "left kidney", rng, 4.0)
    region = scene.region(at - [48, 52, 80], _near(at, 48, 52, 80))
    if region.empty:
        return
    size = size * scene.organ_factor
    turn = turned(rng.normal(10, 4), 0, 0) @ turned(0, side * rng.normal(-13, 3), 0) @ turned(0, 0, side * -35)
    d = (region.x - at[0], region.y - at[1], region.z - at[2])
    own = [sum(np.float32(r[k]) * d[k] for k in range(3)) for r in turn]
    inward = -side * own[0]  # grows towards the hilum
    length = np.float32(61 * size * rng.uniform(0.95, 1.05))
    bent = inward - 7 * (own[2] / length) ** 2 + 3  # poles lean towards the hilum: the bean
    thick = np.float32(25.5 * size), np.float32(29 * size)
    k0 = np.sqrt((bent / thick[0]) ** 2 + (own[1] / thick[1]) ** 2 + (own[2] / length) ** 2)
    kidney = (k0 - 1) * np.float32(26 * size) * (0.55 + 0.45 * np.clip(k0, 0, 1))
    sinus = np.sqrt(((inward - 18) / 17) ** 2 + (own[1] / 11) ** 2 + (own[2] / 29) ** 2) - 1
    sinus = sinus * 11 / size + 1.2 * region.noise(8.0)
    kidney = carve(kidney, sinus, 3) + 0.7 * region.noise(8.0)
    barred = 2 - scene.barrier[region.box]
    kidney = np.maximum(np.maximum(kidney, barred), region.abdomen() + 2)
    fat = np.maximum(kidney, barred) - patient.visceral_mm
    closed = np.maximum(np.minimum(fat, sinus - 4), region.cavity())
    region.paint(closed, hu["visceral_fat"] + 8 * region.noise(8.0), 0)
    medulla = hu["kidney_medulla"] + 3 * region.noise(8.0)
    region.paint(kidney, hu["kidney_cortex"] + 3 * region.noise(8.0), label)
    columns = rng.uniform(5, 8) + 2.5 * region.noise(8.0)
    region.paint(kidney + columns, medulla)
    pelvis = np.sqrt(((inward - 16) / 13) ** 2 + (own[1] / 6) ** 2 + (own[2] / 17) ** 2) - 1
    pelvis = pelvis * 6 + 1.5 * region.noise(8.0) + rng.uniform(0, 3)
    region.paint(np.maximum(pelvis, sinus + 2), hu["renal_pelvis"])
    if rng.random() < 0.25:
        _draw_cysts(scene, label, int(rng.integers(1, 3)), (4, 20))
    _draw_renal_vessels(scene, patient, side, at)


def _draw_renal_vessels(scene: Scene, patient: Patient, side: int, at: np.ndarray) -> None:
    rng, hu = scene.rng, patient.hu
    hilum = _near(at, -side * 20, -12, rng.normal(0, 4))
    region = scene.region((-70, -70, -80), (70, 30, 40))
    if region.empty:
        return
    if side < 0:
        vein = [(*hilum, 4), (-40, -26, at[2] + 4, 5), (-22, -36, at[2] + 10, 6)]
    else:
        vein = [(*hilum, 4), (36, -26, at[2], 5), (14, -47, at[2] + 4, 5), (-12, -42, at[2] + 6, 6)]
    region.paint(np.maximum(region.tube(vein, pad=4), region.cavity()), 0.5 * (hu["ivc"] + hu["portal_vein"]), 0)
    artery = [(*_near(hilum, 0, 5, 3), 2), (side * 30, -18, at[2] + 7, 2.6), (6 + side * 5, -30, at[2] + 10, 3)]
    region.paint(np.maximum(region.tube(artery, pad=4), region.cavity()), hu["arteries"], 0)
    ureter = [(*_near(hilum, 0, 4, -22), 2.2), (side * 34, -14, -90, 2), (side * 36, -34, -150, 2)]
    region = scene.region((-75, -60, -155), (75, 30, at[2]))
    region.paint(np.maximum(region.tube(ureter, pad=4), region.cavity()), hu["renal_pelvis"])


def _draw_cysts(scene: Scene, label: int, count: int, radii: tuple[float, float]) -> None:
    """Simple cysts in an organ; they stay part of its label."""
    for _ in range(count):
        at = _somewhere_in(scene, label)
        if at is None:
            return
        radius = scene.rng.uniform(*radii)
        region = scene.region(at - radius, at + radius, 4)
        cyst = region.ellipsoid(at, radius * scene.rng.uniform(0.85, 1.15, 3)) + 0.6 * region.noise(8.0)
        cyst = np.where(region.labels() == label, cyst, FAR)
        region.paint(cyst, scene.rng.uniform(0, 18))


def _somewhere_in(scene: Scene, label: int) -> np.ndarray | None:
    """The standard coordinates (x, y, z) of a random voxel with this label, None if there is none."""
    voxels = np.flatnonzero(scene.labels.ravel() == label)
    if len(voxels) == 0:
        return None
    k = int(scene.rng.choice(voxels))
    return np.array([scene.x.ravel()[k], scene.y.ravel()[k], scene.z.ravel()[k]], float)


def draw_adrenals(scene: Scene, patient: Patient) -> None:
    """Thin limbs joined at a front ridge, like a Y or a V; the right one behind the IVC, the left beside the crus."""
    rng = scene.rng
    for side, label, place in ((-1, RIGHT_ADRENAL, (-31, -17, 22)), (1, LEFT_ADRENAL, (36, -24, 20))):
        at = np.array(place) + np.clip(rng.normal(0, 2.5, 3), -4, 4)
        region = scene.region(at - 34, at + 34)
        if region.empty:
            continue
        k = scene.organ_factor
        half = k * rng.uniform(14, 19)
        thick = k * rng.uniform(2.0, 2.9)
        up = (region.z - at[2]) / half
        lean = 5 * up  # the gland leans on the kidney's upper pole
        x, y = (side * (region.x - at[0]) + 0.35 * lean) / k, (region.y - at[1] - 0.4 * lean) / k
        medial = _limb(x, y, (0, -7), (rng.uniform(-2, 3), rng.uniform(13, 18) * 1.0)) - thick
        spread = rng.uniform(8, 15)
        lateral = _limb(x, y, (0, -4), (spread, rng.uniform(8, 15))) - thick
        ridge = _limb(x, y, (-1, -12), (0, -4)) - thick * 1.2
        lateral = lateral + 5 * np.clip(up - 0.2, 0, 1)  # the lateral limb ends lower than the medial one
        gland = np.minimum(np.minimum(medial, lateral), ridge)
        gland = np.maximum(gland + 0.5 * region.noise(8.0), (np.abs(up) - 1) * half * 0.8)
        gland = region.confined(gland, gap=0.5)
        region.paint(gland - 2.5, patient.hu["visceral_fat"], 0)
        region.paint(gland, patient.hu["adrenal"], label)


def _limb(x: np.ndarray, y: np.ndarray, a: Point, b: Point) -> np.ndarray:
    """Distance to a segment in the axial plane."""
    bx, by = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * bx + (y - a[1]) * by) / (bx * bx + by * by), 0, 1)
    return np.hypot(x - a[0] - t * bx, y - a[1] - t * by).astype(np.float32)


def draw_pancreas(scene: Scene, patient: Patient) -> None:
    """Head in the C of the duodenum, neck before the portal vein, body over the aorta, tail to the splenic hilum."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-60, -95, -75), (120, 30, 70))
    if region.empty:
        return
    k = scene.organ_factor * rng.uniform(0.86, 1.18)
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
    pts[:, 3] *= k * rng.uniform(0.88, 1.12, 9)
    shape = region.tube(pts)
    lobules = rng.uniform(0.6, 2.0)
    pancreas = region.confined(shape + lobules * region.noise(8.0) + 1.0 * region.noise(20.0), gap=2)
    # The pancreas dents the back of the stomach, but does not lie in it.
    labels = region.labels()
    deep = ndimage.binary_erosion(labels == STOMACH, iterations=max(1, round(6 / scene.spacing[2])))
    pancreas = np.where(deep | np.isin(labels, (LEFT_KIDNEY, RIGHT_KIDNEY, SPLEEN)), FAR, pancreas)
    region.paint(pancreas - rng.uniform(0.5, 3), hu["visceral_fat"], 0)
    infiltrated = np.clip(rng.uniform(5, 40) * (region.noise(3.5) - 0.4), 0, 90)
    region.paint(pancreas, hu["pancreas"] - infiltrated, PANCREAS)
    duct = region.tube(np.c_[pts[1:, :3], np.full(8, rng.uniform(0.3, 1.4))], pad=3)
    region.paint(np.maximum(duct, pancreas), 12.0)


# ------------------------------------------------------------------------------------------------ upper digestive tract


def draw_stomach(scene: Scene, patient: Patient) -> None:
    """From the junction under the left dome down and across to the pylorus; wall, content, gas in front."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-70, -130, -90), (135, 80, 125))
    if region.empty:
        return
    full = rng.uniform(0.6, 1.12)
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
    upper = np.array([0.5, 0.5, 0.6, 1, 1, 1, 1, 1])  # the fundus stays wide when the rest is empty
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
    _paint_gut(region, patient, shape, wall, "stomach_wall", contents[kind], STOMACH, gas)


_PYLORUS = np.array([-30, -62, -6])


def draw_duodenum(scene: Scene, patient: Patient) -> None:
    """Bulb, descending part right of the pancreatic head, third part across the aorta, up to the jejunum."""
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
    shape = region.confined(region.tube(pts) + 1.0 * region.noise(8.0), gap=2)
    kept = np.isin(region.labels(), (RIGHT_KIDNEY, LEFT_KIDNEY, STOMACH, GALLBLADDER))
    shape = np.where(kept, FAR, shape)
    region.paint(shape - rng.uniform(0, 2), patient.hu["visceral_fat"] if rng.random() < 0.7 else patient.hu["muscle"])
    filling = rng.choice(["fluid", "collapsed", "contrast"], p=[0.5, 0.35, 0.15])
    contents: dict[str, np.ndarray | float] = {
        "fluid": rng.uniform(0, 30) + 12 * region.noise(8.0), "collapsed": patient.hu["duodenum_wall"] - 8,
        "contrast": rng.uniform(90, 350) + 30 * region.noise(8.0),
    }  # fmt: skip
    gas = rng.uniform(0.05, 0.35) if rng.random() < 0.35 else 0.0
    _paint_gut(region, patient, shape, rng.uniform(2.5, 4), "duodenum_wall", contents[filling], DUODENUM, gas)


def draw_esophagus(scene: Scene, patient: Patient) -> None:
    """A soft tube in front of the aorta through the hiatus to the stomach, sometimes with air in it."""
    rng, hu = scene.rng, patient.hu
    region = scene.region((-40, -70, 50), (60, 40, 340), 10)
    if region.empty:
        return
    r = rng.uniform(7.2, 10.0)
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
    region.paint(shape, hu["esophagus_wall"] + 4 * region.noise(8.0), ESOPHAGUS)
    if rng.random() < 0.6:
        air = region.tube(np.c_[pts[:, :3], np.full(len(pts), rng.uniform(1.5, 4))], pad=3) + 2 * region.noise(20.0)
        region.paint(np.maximum(air, shape + 3), -700.0 if rng.random() < 0.7 else 10.0)


def draw_gallbladder(scene: Scene, patient: Patient) -> None:
    """A pear under the right lobe; taken out in some patients, stones or dense bile in others."""
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
        at = _near(pts[2, :3], 0, 4, -2)
        stones = region.ellipsoid(at, rng.uniform(3, 8, 3))
        region.paint(np.maximum(stones, shape + 1.5), rng.choice([rng.uniform(80, 600), rng.uniform(-40, 0)]))


# ------------------------------------------------------------------------------------------------------------- vessels


def draw_portal_veins(scene: Scene, patient: Patient) -> None:
    """Superior mesenteric, splenic and portal vein; background, as is the coeliac trunk with its branches."""
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
    """The superior mesenteric artery and vein in their fat, in front of the third part of the duodenum."""
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
    """From the joining iliac veins up the right of the aorta, through the groove in the liver, to the heart."""
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
    pts[:, 3] *= r
    shape = _flattened_tube(region, pts, flat, -36)
    for side in (-1, 1):
        iliac = region.tube([(-10, -30, -126, 8), (side * 28 - 6, -24, -155, 7), (side * 50, -12, -205, 7)])
        region.paint(iliac, hu["ivc"], 0)
    region.paint(shape - 1.2, hu["visceral_fat"])
    upper = np.clip((region.z + 40) / 60, 0, 1)  # renal veins bring enhanced blood first
    mixed = hu["ivc"] + upper * (0.5 * (hu["portal_vein"] - hu["ivc"]))
    if patient.phase in ("arterial", "portal"):
        mixed = mixed + rng.uniform(0, 14) * region.noise(20.0)
    region.paint(np.maximum(shape, 0.3 - scene.barrier[region.box]), mixed, IVC)


def _flattened_tube(region: Region, pts: np.ndarray, flat: float, y: float) -> np.ndarray:
    """A tube pressed from front to back round the height `y`, wider to keep its girth."""
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
    """Arch (if in view), descending and abdominal aorta left in front of the spine, iliac arteries as background."""
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
    sway = np.interp(pts[:, 2], (-108, -60, 0, 100), (rng.normal(0, 4), rng.normal(0, 4), rng.normal(0, 2), 0))
    pts[5:, 0] += sway[5:]
    pts[:, 3] *= r
    for side in (-1, 1):
        iliac = region.tube([(*pts[-1, :3], 6), (side * 24 + 4, -34, -140, 5.5), (side * 50, -26, -200, 5)])
        region.paint(iliac, hu["arteries"], 0)
    shape = region.tube(pts) + 0.4 * region.noise(20.0)
    region.paint(shape - 1.2, hu["visceral_fat"])
    region.paint(shape, hu["aorta"], AORTA)
    if rng.random() < 0.35:  # calcified plaques sit in the wall
        plaques = np.maximum(np.abs(shape + 1) - 1.2, 1.3 - region.noise(8.0))
        region.paint(np.maximum(plaques, region.z - 130), rng.uniform(300, 800))


# ------------------------------------------------------------------------------------------------------------- tumours

# Organ, how often, largest diameter in mm.
_TUMOUR_SITES = (
    (LIVER, 0.34, 70), (RIGHT_KIDNEY, 0.10, 65), (LEFT_KIDNEY, 0.10, 65), (PANCREAS, 0.18, 45), (STOMACH, 0.10, 60),
    (SPLEEN, 0.04, 45), (LEFT_ADRENAL, 0.03, 45), (RIGHT_ADRENAL, 0.03, 45), (0, 0.08, 45),
)  # fmt: skip


def draw_tumours(scene: Scene, patient: Patient) -> None:
    """None to four lesions in organs, or as lymph nodes beside the great vessels and in the colon's wall."""
    rng = scene.rng
    sites, weights, largest = zip(*_TUMOUR_SITES, strict=True)
    for _ in range(int(rng.choice(5, p=[0.3, 0.3, 0.2, 0.12, 0.08]))):
        k = int(rng.choice(len(sites), p=weights))
        at = _somewhere_in(scene, sites[k]) if sites[k] else _beside_vessels_or_colon(rng)
        if at is not None:
            diameter = float(np.exp(rng.uniform(np.log(8), np.log(largest[k]))))
            _draw_tumour(scene, patient, at, diameter / 2)


def _beside_vessels_or_colon(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.6:
        return np.array([rng.uniform(-35, 38), rng.uniform(-55, -30), rng.uniform(-110, 30)])
    return np.array([rng.choice([-92, 100]), rng.uniform(-35, 5), rng.uniform(-120, -40)])


def _draw_tumour(scene: Scene, patient: Patient, at: np.ndarray, radius: float) -> None:
    """One lesion with an irregular outline: poor or rich in vessels, with a rim, a dead core, or calcified."""
    rng, hu = scene.rng, patient.hu
    region = scene.region(at - radius, at + radius, 12)
    if region.empty:
        return
    radii = radius * rng.uniform(0.8, 1.2, 3)
    shape = region.ellipsoid(at, radii, turned(*rng.uniform(0, 180, 3)))
    shape = shape + radius * (0.09 * region.noise(20.0) + rng.uniform(0.02, 0.1) * region.noise(8.0))
    shape = np.maximum(shape, region.abdomen() + 1)
    shape = np.maximum(shape, 1 - scene.barrier[region.box])
    shape = np.where(np.isin(region.labels(), (AORTA, IVC)), FAR, shape)
    rich = rng.random() < 0.3
    host = np.median(region.hu()[shape < 0]) if (shape < 0).any() else 50.0
    value = hu["lesion_rich"] if rich else hu["lesion_poor"]
    if abs(value - host) < 10 and rng.random() < 0.7:  # most lesions that get annotated can be seen
        value = host - rng.uniform(12, 30)
    region.paint(shape, value + rng.uniform(2, 9) * region.noise(8.0), TUMOUR)
    if rng.random() < 0.25:
        region.paint(np.maximum(shape, -shape - 3.5), value + rng.uniform(15, 60))
    if radius > 9 and rng.random() < 0.45:
        core = shape + radius * (rng.uniform(0.3, 0.6) + 0.12 * region.noise(8.0))
        region.paint(core, hu["necrosis"])
    if rng.random() < 0.07:
        region.paint(np.maximum(shape + 2, 1.6 - region.noise(3.5)), 300.0)
