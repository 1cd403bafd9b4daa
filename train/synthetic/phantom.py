"""Labelled synthetic abdominal CTs, to train on in addition to the few real CTs with a suitable licence.

`make_phantom(seed)` draws one patient and simulates the scan. Patients vary in sex, build, body fat, size, position and
content of every organ, contrast phase, tumours, field of view and noise.

Label values are FLARE's: 1 liver, 2 right kidney, 3 spleen, 4 pancreas, 5 aorta, 6 inferior vena cava, 7 right
adrenal gland, 8 left adrenal gland, 9 gallbladder, 10 esophagus, 11 stomach, 12 duodenum, 13 left kidney, 14 tumour,
0 background. Renal sinus and pelvis, extrahepatic portal, renal and iliac vessels are 0; vessels and cysts inside
the liver and cysts of the kidneys belong to the organ; hollow organs include their content.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.synthetic.anatomy import draw_elsewhere, draw_patient
from train.synthetic.body.contrast import draw_phase
from train.synthetic.body.patient import Person, Sex, draw_person
from train.synthetic.body.scanner import acquire, add_table
from train.synthetic.body.scene import Scene

# Field of view: range of its lowest and of its highest z, mm from the centre of L1. A slab may be anywhere.
_VIEWS = {
    "abdomen": ((-150, -105), (118, 150)),
    "abdomen and pelvis": ((-320, -270), (112, 150)),
    "chest, abdomen and pelvis": ((-310, -260), (190, 250)),
}
ELSEWHERE = {"head": ((-170, -60), (140, 185)), "thighs": ((-230, -90), (70, 180))}
"""Views without labelled structures; z = 0 is the floor of the mouth, or mid-thigh."""
_SLAB = "slab"
_VIEW_SHARES = (0.40, 0.28, 0.12, 0.20)
_THICK = 2.5
"""Slices thicker than this many pixels are drawn at half the thickness and averaged, like partial volume."""


@dataclass(frozen=True)
class Phantom:
    """One synthetic scan; arrays are (z, y, x): z upwards, y from front to back, x from the patient's right to left."""

    hu: np.ndarray
    """int16 Hounsfield units."""
    labels: np.ndarray
    """uint8, see the module docstring."""
    spacing_zyx_mm: tuple[float, float, float]
    phase: str
    """plain, arterial, portal or delayed."""
    seed: int
    view: str
    sex: Sex
    weight_kg: float


def make_phantom(
    seed: int,
    *,
    spacing_zyx_mm: tuple[float, float, float] = (3.0, 3.0, 3.0),
    phase: str | None = None,
    view: str | None = None,
    tumours: bool | None = None,
) -> Phantom:
    """Draw the patient of this seed and simulate the scan; the same arguments give the same arrays.

    `phase` and `view` ("abdomen", "abdomen and pelvis", "chest, abdomen and pelvis", "slab") are random by
    default; the first three views contain all abdominal organs. "head" and "thighs", which are never chosen at random,
    contain no labelled structure. `tumours`: True for at least one, False for none; random by default.
    """
    rng = np.random.default_rng(seed)
    drawn_phase = draw_phase(rng)
    drawn_view = str(rng.choice([*_VIEWS, _SLAB], p=_VIEW_SHARES))
    phase, view = phase or drawn_phase, view or drawn_view
    person = draw_person(rng)
    low, high = _draw_field(rng, view, person)
    times = 2 if spacing_zyx_mm[0] > _THICK * max(spacing_zyx_mm[1:]) else 1
    fine = (spacing_zyx_mm[0] / times, spacing_zyx_mm[1], spacing_zyx_mm[2])
    scene = Scene(rng, person.build, low, high, fine, bend_mm=rng.uniform(2.5, 5.5))
    if view in ELSEWHERE:
        draw_elsewhere(scene, person, phase, view)
    else:
        draw_patient(scene, person, phase, tumours=tumours)
    hu, labels = _thicker(scene.hu, scene.labels, times)
    add_table(hu, rng, spacing_zyx_mm)
    hu = acquire(hu, rng, spacing_zyx_mm, arms=person.arms)
    return Phantom(hu, labels, spacing_zyx_mm, phase, seed, view, person.sex, round(person.weight_kg, 1))


def _thicker(hu: np.ndarray, labels: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """Merge each `times` slices: mean HU, labels of the middle slice."""
    if times == 1:
        return hu, labels
    count = len(hu) // times * times
    mean = hu[:count].reshape(-1, times, *hu.shape[1:]).mean(axis=1)
    return mean, np.ascontiguousarray(labels[times // 2 : count : times])


def _draw_field(
    rng: np.random.Generator, view: str, person: Person
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Lowest and highest (z, y, x) of the field of view, mm in the patient's body."""
    build, fat_mm = person.build, person.fat_mm
    if view == _SLAB:
        middle, half = rng.uniform(-60, 90), rng.uniform(35, 85)
        z = (middle - half, middle + half)
    else:
        lows, highs = (_VIEWS | ELSEWHERE)[view]
        z = (rng.uniform(*lows), rng.uniform(*highs))
    wide = build.width * 150 + fat_mm * 1.2 + (62 if person.arms else 0)
    front = build.front * 118 + fat_mm * 1.1
    back = build.back * 98 + fat_mm * 1.1
    if view == "head":
        wide, front, back = 130 + build.width * (60 if z[0] < -115 else 0), 120.0, 110.0
    zoom = rng.choice([-18.0, 8.0, 30.0, 60.0], p=[0.1, 0.4, 0.35, 0.15]) + rng.normal(0, 5)
    aside, below = rng.normal(0, 6), rng.uniform(10, 45)
    return (
        (z[0] * build.height, -front - zoom, -wide - zoom + aside),
        (z[1] * build.height, back + max(zoom, 0) + below, wide + zoom + aside),
    )


def main() -> None:
    """`python -m train.synthetic.phantom FILE [SEED]` writes a synthetic abdomen as a CT and prints its path."""
    import sys

    from flareseg.io.files import write_volume
    from flareseg.volume import Geometry, Volume

    path, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    phantom = make_phantom(seed, spacing_zyx_mm=(3.0, 1.5, 1.5), phase="portal", view="abdomen and pelvis")
    print(write_volume(Volume(phantom.hu, Geometry(phantom.hu.shape, phantom.spacing_zyx_mm)), path, overwrite=True))


if __name__ == "__main__":
    main()
