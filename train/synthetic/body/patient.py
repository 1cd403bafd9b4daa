"""Who the patient is: sex, stature, weight, and what follows from them for the body's shape and its fat."""

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
"""Label values of the structures that a phantom has; of any other its labels say nothing."""
LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, AORTA, IVC, RIGHT_ADRENAL = DRAWN[:7]
LEFT_ADRENAL, GALLBLADDER, ESOPHAGUS, STOMACH, DUODENUM, LEFT_KIDNEY, TUMOUR = DRAWN[7:]

Sex = Literal["female", "male"]


@dataclass(frozen=True)
class Person:
    """An adult of 45 to 130 kg.

    Attributes:
        sex: decides breasts, hips, pelvic organs and where the fat sits.
        stature_cm, weight_kg: as in life.
        fat_mm: thickness of the fat under the skin at the flank.
        visceral_mm: of that round the kidneys, a measure of all fat inside the belly.
        build: stretch of the standard adult.
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
    """What the organs of one patient share: the person, grey values, the phase, and where some organs came to lie."""

    person: Person
    hu: dict[str, float]
    phase: str
    left_dome: float = 84.0
    """Height of the left dome of the diaphragm, which carries the stomach's fundus and the spleen with it."""
    roundness: tuple[float, float] = (2.5, 3.3)
    """Exponents of the superellipse that the trunk's wall is, in front and behind: 2 is round, more is boxy."""
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
        """This patient's displacement (x, y, z) of an organ from its standard place; drawn once."""
        if organ not in self.shift:
            self.shift[organ] = np.clip(rng.normal(0, sd, 3), -2 * sd, 2 * sd)
        return self.shift[organ]

    def parting(self, rng: np.random.Generator) -> float:
        """Height (z, mm) at which the aorta parts, before the fourth lumbar vertebra; drawn once."""
        if "parting" not in self.shift:
            self.shift["parting"] = np.array([-110 + np.clip(rng.normal(0, 8), -16, 14)])
        return float(self.shift["parting"][0])


def draw_person(rng: np.random.Generator) -> Person:
    """Draw an adult: half women, half men, from thin to very fat."""
    sex: Sex = "female" if rng.random() < 0.5 else "male"
    stature_cm = float(rng.normal(163, 7) if sex == "female" else rng.normal(176, 7))
    bmi = float(np.exp(rng.normal(np.log(25.5), 0.2)))
    weight_kg = float(np.clip(bmi * (stature_cm / 100) ** 2, 45, 130))
    plump = float(np.log(weight_kg / (stature_cm / 100) ** 2 / 25.5))
    # Women keep more of their fat under the skin, men more of it inside.
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
    """Stretch of the standard adult: fat patients are wider, and most of all deeper in front."""
    tall = stature_cm / 170
    frame = 0.96 if sex == "female" else 1.03
    return Build(
        width=float(np.clip(frame * np.sqrt(tall) * (1 + 0.28 * plump) * rng.normal(1, 0.03), 0.84, 1.26)),
        front=float(np.clip(frame * (1 + 0.55 * plump) * rng.normal(1, 0.06), 0.74, 1.45)),
        back=float(np.clip(frame * (1 + 0.1 * plump) * rng.normal(1, 0.03), 0.88, 1.16)),
        height=float(np.clip(tall * rng.normal(1, 0.025), 0.88, 1.14)),
    )
