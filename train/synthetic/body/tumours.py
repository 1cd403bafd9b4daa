"""Tumours as annotated in FLARE 2023: site, size and appearance.

The label includes the whole lesion with rim and necrotic core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.synthetic.body.kidneys import somewhere_in
from train.synthetic.body.patient import (
    AORTA,
    DUODENUM,
    GALLBLADDER,
    IVC,
    LEFT_ADRENAL,
    LEFT_KIDNEY,
    LIVER,
    PANCREAS,
    RIGHT_ADRENAL,
    RIGHT_KIDNEY,
    SPLEEN,
    STOMACH,
    TUMOUR,
    Patient,
)
from train.synthetic.body.scene import Region, Scene
from train.synthetic.body.shapes import FAR, turned

NODES, COLON, FAT = 101, 102, 103
"""Sites outside labelled organs: lymph nodes near the great vessels, the colon wall, visceral fat."""


@dataclass(frozen=True)
class Site:
    """A tumour site: label value, share of all tumours, diameter range (mm), probability of hypervascular tumours."""

    where: int
    share: float
    smallest: float
    largest: float
    rich: float


SITES = (
    Site(LIVER, 0.30, 5, 80, 0.25), Site(RIGHT_KIDNEY, 0.09, 8, 80, 0.5), Site(LEFT_KIDNEY, 0.09, 8, 80, 0.5),
    Site(PANCREAS, 0.17, 8, 50, 0.2), Site(STOMACH, 0.09, 12, 70, 0.3), Site(SPLEEN, 0.03, 6, 45, 0.1),
    Site(LEFT_ADRENAL, 0.03, 10, 60, 0.3), Site(RIGHT_ADRENAL, 0.03, 10, 60, 0.3), Site(GALLBLADDER, 0.02, 8, 45, 0.3),
    Site(DUODENUM, 0.02, 10, 45, 0.3), Site(NODES, 0.05, 8, 45, 0.2), Site(COLON, 0.05, 15, 70, 0.2),
    Site(FAT, 0.03, 10, 80, 0.3),
)  # fmt: skip
COUNTS = (0.4, 0.27, 0.15, 0.1, 0.08)
"""Fraction of patients with 0, 1, ... 4 tumours."""


def draw_tumours(scene: Scene, patient: Patient, *, wanted: bool | None = None) -> None:
    """Draw zero to four lesions, sometimes with multiple liver metastases.

    `wanted`: True for at least one in view, False for none; random by default.
    """
    rng = scene.rng
    count = int(rng.choice(len(COUNTS), p=COUNTS))
    if wanted is False:
        return
    for _ in range(count):
        _draw_one(scene, patient, _draw_site(rng))
    if count > 1 and rng.random() < 0.15:  # liver metastases
        spread = Site(LIVER, 0.0, 5, 25, 0.1)
        for _ in range(int(rng.integers(3, 10))):
            _draw_one(scene, patient, spread)
    for _ in range(30 if wanted else 0):
        if (scene.labels == TUMOUR).any():
            return
        _draw_one(scene, patient, _draw_site(rng))


def _draw_site(rng: np.random.Generator) -> Site:
    shares = np.array([site.share for site in SITES])
    return SITES[int(rng.choice(len(SITES), p=shares / shares.sum()))]


def _draw_one(scene: Scene, patient: Patient, site: Site) -> None:
    rng = scene.rng
    radius = float(np.exp(rng.uniform(np.log(site.smallest), np.log(site.largest)))) / 2
    at = _place(scene, site.where)
    if at is not None:
        _draw_tumour(scene, patient, at, radius, rich=bool(rng.random() < site.rich))


def _place(scene: Scene, where: int) -> np.ndarray | None:
    """A random centre (x, y, z) in standard space for a tumour of this site; None if the organ is not in view."""
    rng = scene.rng
    if where == NODES:
        return np.array([rng.uniform(-35, 38), rng.uniform(-55, -30), rng.uniform(-110, 30)])
    if where == COLON:
        return np.array([rng.choice([-92, 100]), rng.uniform(-35, 5), rng.uniform(-120, -40)])
    if where == FAT:
        return np.array([rng.uniform(-90, 90), rng.uniform(-85, 10), rng.uniform(-200, 20)])
    inside = somewhere_in(scene, where)
    if inside is None or where not in (LIVER, LEFT_KIDNEY, RIGHT_KIDNEY, PANCREAS, STOMACH) or rng.random() < 0.6:
        return inside
    # Exophytic tumours: of a few random points, the one farthest from their mean is closest to the surface.
    places = [place for place in (somewhere_in(scene, where) for _ in range(4)) if place is not None]
    middle = np.mean(places, axis=0)
    return max(places, key=lambda place: float(np.linalg.norm(place - middle)))


def _draw_tumour(scene: Scene, patient: Patient, at: np.ndarray, radius: float, *, rich: bool) -> None:
    region = scene.region(at - 1.3 * radius, at + 1.3 * radius, 12)
    if region.empty:
        return
    shape = _outline(region, at, radius)
    if not (shape < 0).any():
        return
    rng, hu = scene.rng, patient.hu
    host = float(np.median(region.hu()[shape < 0]))
    value = hu["lesion_rich"] if rich else hu["lesion_poor"]
    if abs(value - host) < 22 and rng.random() < 0.9:  # annotated lesions are visible
        value = host - rng.uniform(22, 60)
    sharp = radius < 6 or rng.random() < 0.6
    blurred = shape if sharp else shape * rng.uniform(0.25, 0.6)
    region.paint(blurred, value + rng.uniform(2, 9) * region.noise(8.0))
    region.labels()[shape < 0] = TUMOUR
    _fill(region, patient, shape, value, radius)


def _outline(region: Region, at: np.ndarray, radius: float) -> np.ndarray:
    """A round or lobulated shape that spares great vessels, bones and the abdominal wall."""
    rng, scene = region.scene.rng, region.scene
    radii = radius * rng.uniform(0.8, 1.2, 3)
    shape = region.ellipsoid(at, radii, turned(*rng.uniform(0, 180, 3)))
    for _ in range(int(rng.integers(0, 4)) if radius > 8 else 0):
        lobe = at + rng.normal(0, 0.5, 3) * radius
        shape = np.minimum(shape, region.ellipsoid(lobe, radius * rng.uniform(0.4, 0.75, 3)))
    shape = shape + radius * (0.09 * region.noise(20.0) + rng.uniform(0.02, 0.1) * region.noise(8.0))
    shape = np.maximum(shape, region.abdomen() + 1)
    shape = np.maximum(shape, 1 - scene.barrier[region.box])
    return np.where(np.isin(region.labels(), (AORTA, IVC)), FAR, shape)


def _fill(region: Region, patient: Patient, shape: np.ndarray, value: float, radius: float) -> None:
    """Paint the inside: enhancing rim, necrotic or cystic core, septa, calcification, fat."""
    rng, hu = region.scene.rng, patient.hu
    kinds = ["homogeneous", "rim", "necrotic", "cystic", "mixed"]
    kind = rng.choice(kinds, p=[0.42, 0.2, 0.18, 0.1, 0.1] if radius > 7 else [0.75, 0.15, 0, 0.1, 0])
    brighter = rng.uniform(15, 60) if patient.phase != "plain" else rng.uniform(0, 12)
    if kind in ("rim", "necrotic", "cystic"):
        thick = rng.uniform(1.5, 4.5)
        region.paint(np.maximum(shape, -shape - thick), value + brighter)
    if kind == "necrotic":
        core = shape + radius * (rng.uniform(0.25, 0.6) + 0.12 * region.noise(8.0))
        region.paint(core, hu["necrosis"] + 5 * region.noise(8.0))
    elif kind == "cystic":
        liquid = shape + rng.uniform(1.5, 3.5)
        walls = np.abs(region.noise(8.0)) < 0.07 if rng.random() < 0.4 else np.zeros(region.shape, bool)
        region.paint(np.where(walls, FAR, liquid), rng.uniform(2, 22))
    elif kind == "mixed":
        patches = np.maximum(shape + 1, 3 * (rng.uniform(-0.3, 0.6) - region.noise(8.0)))
        region.paint(patches, rng.choice([hu["necrosis"], value + brighter, hu["visceral_fat"]], p=[0.5, 0.4, 0.1]))
    if rng.random() < 0.1:
        calcification = np.maximum(shape + 2, rng.uniform(1.2, 2.2) - region.noise(3.5))
        region.paint(calcification, rng.uniform(150, 700))
