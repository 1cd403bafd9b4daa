"""The patient: sex, height, weight, and the body shape and fat that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from flareseg.labels import by_name
from train.synthetic.body.scene import Build

DRAWN = tuple(
    by_name(name).value
    for name in (
        "liver", "right_kidney", "spleen", "pancreas", "aorta", "inferior_vena_cava", "right_adrenal_gland",
        "left_adrenal_gland", "gallbladder", "esophagus", "stomach", "duodenum", "left_kidney", "tumour",
    )
)  # fmt: skip
"""Label values of the structures in a phantom; any other structure is not annotated."""
LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, AORTA, IVC, RIGHT_ADRENAL = DRAWN[:7]
LEFT_ADRENAL, GALLBLADDER, ESOPHAGUS, STOMACH, DUODENUM, LEFT_KIDNEY, TUMOUR = DRAWN[7:]

Sex = Literal["female", "male"]


@dataclass(frozen=True)
class Person:
    """An adult of 45 to 130 kg.

    Attributes:
        sex: determines breasts, hips, pelvic organs and fat distribution.
        stature_cm, weight_kg: body height and weight.
        fat_mm: thickness of subcutaneous fat at the flank.
        visceral_mm: thickness of perirenal fat, a measure of visceral fat.
        build: scaling of the standard adult.
        arms: whether the arms lie beside the trunk instead of above the head.
    """

    sex: Sex
    stature_cm: float
    weight_kg: float
    fat_mm: float
    visceral_mm: float
    build: Build
    arms: bool


@dataclass
class Patient:
    """State shared by the organs of one patient: person, tissue HU, contrast phase and organ displacements."""

    person: Person
    hu: dict[str, float]
    phase: str
    left_dome: float = 84.0
    """Height (mm) of the left dome of the diaphragm, which also sets the height of gastric fundus and spleen."""
    roundness: tuple[float, float] = (2.5, 3.3)
    """Exponents of the superellipse of the trunk wall, front and back: 2 is an ellipse, larger is boxier."""
    shift: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def fat_mm(self) -> float:
        return self.person.fat_mm

    @property
    def visceral_mm(self) -> float:
        return self.person.visceral_mm

    @property
    def female(self) -> bool:
        return self.person.sex == "female"

    def moved(self, organ: str, rng: np.random.Generator, sd: float) -> np.ndarray:
        """Displacement (x, y, z) in mm of an organ from its standard position; drawn once per patient."""
        if organ not in self.shift:
            self.shift[organ] = np.clip(rng.normal(0, sd, 3), -2 * sd, 2 * sd)
        return self.shift[organ]

    def bifurcation(self, rng: np.random.Generator) -> float:
        """Height (z, mm) of the aortic bifurcation, in front of L4; drawn once per patient."""
        if "bifurcation" not in self.shift:
            self.shift["bifurcation"] = np.array([-110 + np.clip(rng.normal(0, 8), -16, 14)])
        return float(self.shift["bifurcation"][0])


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a random adult, female or male with equal probability, from lean to obese."""
    sex: Sex = "female" if rng.random() < 0.5 else "male"
    stature_cm = float(rng.normal(163, 7) if sex == "female" else rng.normal(176, 7))
    bmi = float(np.exp(rng.normal(np.log(25.5), 0.2)))
    weight_kg = float(np.clip(bmi * (stature_cm / 100) ** 2, 45, 130))
    plump = float(np.log(weight_kg / (stature_cm / 100) ** 2 / 25.5))
    # Women have more subcutaneous, men more visceral fat.
    under, inside = (17.0, 3.0) if sex == "female" else (13.0, 5.0)
    fat_mm = float(np.clip(under * np.exp(2.3 * plump + rng.normal(0, 0.2)), 3, 50))
    visceral_mm = float(np.clip(inside * np.exp(2.5 * plump + rng.normal(0, 0.35)), 0.5, 18))
    return Person(
        sex,
        stature_cm,
        weight_kg,
        fat_mm,
        visceral_mm,
        _draw_build(rng, sex, stature_cm, plump),
        arms=bool(rng.random() < 0.15),
    )


def _draw_build(rng: np.random.Generator, sex: Sex, stature_cm: float, plump: float) -> Build:
    """Scaling of the standard adult: obese patients are wider and above all deeper in front."""
    tall = stature_cm / 170
    frame = 0.96 if sex == "female" else 1.03
    return Build(
        width=float(np.clip(frame * np.sqrt(tall) * (1 + 0.28 * plump) * rng.normal(1, 0.03), 0.84, 1.26)),
        front=float(np.clip(frame * (1 + 0.55 * plump) * rng.normal(1, 0.06), 0.74, 1.45)),
        back=float(np.clip(frame * (1 + 0.1 * plump) * rng.normal(1, 0.03), 0.88, 1.16)),
        height=float(np.clip(tall * rng.normal(1, 0.025), 0.88, 1.14)),
    )
