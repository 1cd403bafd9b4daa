"""Tissue intensities in HU per contrast phase, randomised per patient."""

from __future__ import annotations

import numpy as np

PHASES = ("plain", "arterial", "portal", "delayed")
PHASE_WEIGHTS = (0.30, 0.18, 0.38, 0.14)

# Typical HU: plain, arterial, portal venous, delayed; then the standard deviation between patients.
_TABLE: dict[str, tuple[float, float, float, float, float]] = {
    "liver": (56, 68, 106, 92, 8),
    "spleen": (46, 118, 118, 98, 8),
    "pancreas": (40, 98, 92, 76, 9),
    "kidney_cortex": (32, 165, 178, 148, 12),
    "kidney_medulla": (29, 70, 160, 148, 12),
    "aorta": (41, 290, 150, 115, 6),
    "ivc": (39, 75, 125, 112, 8),
    "portal_vein": (40, 105, 158, 118, 8),
    "arteries": (41, 275, 145, 112, 8),
    "adrenal": (22, 62, 70, 55, 9),
    "bile": (9, 9, 10, 10, 7),
    "esophagus_wall": (36, 52, 60, 56, 7),
    "stomach_wall": (36, 68, 76, 66, 9),
    "duodenum_wall": (34, 66, 76, 64, 9),
    "bowel_wall": (33, 70, 82, 66, 10),
    "muscle": (54, 58, 64, 62, 5),
    "heart_wall": (45, 100, 105, 95, 7),
    "heart_blood": (41, 270, 150, 118, 15),
    "urine": (4, 4, 8, 180, 6),
    "renal_pelvis": (5, 6, 25, 330, 10),
    "lesion_poor": (34, 45, 58, 56, 9),
    "lesion_rich": (42, 125, 115, 84, 14),
    "necrosis": (20, 22, 24, 24, 8),
    "disc": (75, 78, 80, 80, 10),
}


_ARTERIAL = ("aorta", "arteries", "heart_blood")


def draw_phase(rng: np.random.Generator) -> str:
    """The name of a contrast phase, about 30 % of them plain."""
    return str(rng.choice(PHASES, p=PHASE_WEIGHTS))


def draw_hu(rng: np.random.Generator, phase: str) -> dict[str, float]:
    """Draw the HU of every tissue in one patient: typical values of the phase, a global enhancement, organ variation.

    Bolus timing varies, so the values of an enhanced scan are shifted towards the next phase by a random amount.
    """
    column = PHASES.index(phase)
    later = min(column + 1, len(PHASES) - 1)
    drift = rng.uniform(0, 0.45) if column else 0.0
    strength = rng.uniform(0.65, 1.3)
    # Early arterial phase: arteries enhance before organs do.
    early = rng.uniform(0.05, 0.6) if phase == "arterial" and rng.random() < 0.35 else 1.0
    scale, offset = rng.normal(1, 0.04), rng.normal(0, 5)  # tube voltage and calibration affect all soft tissue
    hu = {}
    for name, (*values, sd) in _TABLE.items():
        enhanced = values[column] + drift * (values[later] - values[column])
        if name in ("urine", "renal_pelvis") and phase != "delayed":
            enhanced = values[column]
        reached = strength * (1.0 if name in _ARTERIAL else early) * rng.uniform(0.85, 1.15)
        hu[name] = scale * (values[0] + reached * (enhanced - values[0])) + offset + sd * rng.normal()
    if not column and rng.random() < 0.1:  # residual contrast of an earlier examination in the kidneys
        hu["renal_pelvis"] += rng.uniform(100, 500)
    hu["fat"] = rng.normal(-104, 6)
    hu["visceral_fat"] = hu["fat"] + rng.uniform(0, 18)
    hu["skin"] = rng.uniform(-20, 40)
    hu["lung"] = rng.uniform(-880, -780)
    hu["cortical_bone"] = rng.uniform(300, 720)
    hu["spongy_bone"] = rng.uniform(70, 190) + (20 if column else 0)
    hu["cartilage"] = rng.uniform(80, 150)
    if rng.random() < 0.22:
        hu["liver"] -= rng.uniform(12, 55)  # steatosis
    if rng.random() < 0.35:
        hu["muscle"] -= rng.uniform(5, 25)  # fatty infiltration with age
    if rng.random() < 0.25:
        hu["pancreas"] -= rng.uniform(8, 40)  # fatty pancreas
    return hu
