"""Tables from label value or name to tissue, for `resynthesis.py` and `whole_body.py`.

A tissue is a key of `draw_whole_body_hu`, and its intensity depends on the contrast phase ("kidney" is cortex and
medulla together, "bowel" the colon with its content, "nerve" the spinal cord). Values missing from a table have unknown
tissue.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np

from train.synthetic.body.contrast import draw_hu

Tissues = Mapping[int, str]

FLARE: Tissues = {
    1: "liver", 2: "kidney", 3: "spleen", 4: "pancreas", 5: "aorta", 6: "ivc", 7: "adrenal", 8: "adrenal", 9: "bile",
    10: "esophagus_wall", 11: "stomach_wall", 12: "duodenum_wall", 13: "kidney", 14: "lesion_poor",
}  # fmt: skip
"""FLARE's structures, as in `labels.csv`."""

SPL_ATLAS: Tissues = {
    3: "liver", 4: "spleen", 6: "pancreas", 7: "aorta", 8: "ivc", 10: "bile", 12: "portal_vein", 13: "stomach_wall",
    16: "arteries", 17: "arteries", 19: "arteries", 22: "arteries", 25: "portal_vein", 29: "ivc",
    32: "muscle", 51: "kidney", 52: "kidney", 71: "arteries", 72: "arteries", 73: "arteries", 74: "arteries",
    75: "arteries", 76: "arteries", 81: "ivc", 82: "ivc", 83: "ivc", 84: "ivc", 85: "ivc", 86: "ivc",
    111: "adrenal", 112: "adrenal", 126: "ivc", 128: "arteries", 129: "ivc", 151: "portal_vein",
    131: "muscle", 133: "muscle", 135: "muscle", 136: "muscle", 137: "muscle", 138: "muscle", 139: "muscle",
    140: "muscle", 143: "muscle", 231: "muscle", 233: "muscle", 235: "muscle", 236: "muscle", 237: "muscle",
    238: "muscle", 239: "muscle", 240: "muscle", 241: "muscle",
    9: "bowel", 299: "spongy_bone", 600: "spongy_bone", **dict.fromkeys(range(409, 413), "spongy_bone"),
    **dict.fromkeys(range(501, 506), "spongy_bone"), **dict.fromkeys(range(551, 560), "disc"),
    **dict.fromkeys(range(686, 693), "spongy_bone"),
}  # fmt: skip
"""The CT-based abdominal atlas of the Surgical Planning Laboratory (Talos et al. 2015), with its own label values."""

TOTALSEGMENTATOR: Tissues = {
    1: "spleen", 2: "kidney", 3: "kidney", 4: "bile", 5: "liver", 6: "stomach_wall", 7: "pancreas", 8: "adrenal",
    9: "adrenal", 15: "esophagus_wall", 18: "bowel_wall", 19: "duodenum_wall", 21: "urine", 22: "muscle",
    51: "heart_wall", 52: "aorta", 63: "ivc", 64: "portal_vein", 65: "arteries", 66: "arteries", 67: "ivc", 68: "ivc",
    80: "muscle", 81: "muscle", 82: "muscle", 83: "muscle", 84: "muscle", 85: "muscle", 86: "muscle", 87: "muscle",
    88: "muscle", 89: "muscle", 20: "bowel", **dict.fromkeys(range(10, 15), "lung"),
    **dict.fromkeys(range(25, 51), "spongy_bone"), **dict.fromkeys(range(69, 79), "spongy_bone"),
    **dict.fromkeys(range(92, 117), "spongy_bone"), 117: "cartilage",
}  # fmt: skip
"""TotalSegmentator 2, task "total" (Wasserthal et al. 2023)."""

TOTALSEGMENTATOR_NAMES: Mapping[str, str] = {
    "liver": "liver", "spleen": "spleen", "pancreas": "pancreas", "kidney_cyst_*": "bile", "kidney_*": "kidney",
    "adrenal_gland_*": "adrenal", "gallbladder": "bile", "aorta": "aorta", "inferior_vena_cava": "ivc",
    "superior_vena_cava": "ivc", "portal_vein_and_splenic_vein": "portal_vein", "iliac_vena_*": "ivc",
    "brachiocephalic_vein_*": "ivc", "pulmonary_vein": "heart_blood", "*_artery_*": "arteries",
    "brachiocephalic_trunk": "arteries", "heart": "heart_wall", "atrial_appendage_left": "heart_blood",
    "esophagus": "esophagus_wall", "stomach": "stomach_wall", "duodenum": "duodenum_wall",
    "small_bowel": "bowel_wall", "colon": "bowel", "urinary_bladder": "urine", "prostate": "muscle",
    "lung_*": "lung", "trachea": "air", "vertebrae_*": "spongy_bone", "rib_*": "spongy_bone",
    "sacrum": "spongy_bone", "sternum": "spongy_bone", "skull": "spongy_bone", "hip_*": "spongy_bone",
    "femur_*": "spongy_bone", "humerus_*": "arm_bone", "scapula_*": "spongy_bone", "clavicula_*": "spongy_bone",
    "costal_cartilages": "cartilage", "gluteus_*": "muscle", "iliopsoas_*": "muscle", "autochthon_*": "muscle",
    "spinal_cord": "nerve", "brain": "nerve", "thyroid_gland": "thyroid",
}  # fmt: skip
"""By the names of TotalSegmentator 2, as patterns; the first that fits counts."""

HRA_NAMES: Mapping[str, str] = {
    "body": "body", "jejunum_ileum": "bowel_wall", "ivc": "ivc", "pelvis": "spongy_bone",
    "portal_*_vessels": "portal_vein", "mesenteric_*_vessels": "arteries",
}  # fmt: skip
"""By those names of the Human Reference Atlas (Browne et al.) that TotalSegmentator does not have; "body" is all within
the skin."""


def tissues_of(names: Mapping[int, str]) -> dict[int, str]:
    """The tissue of each label value by the name of its structure; values of unknown names are left out."""
    patterns = [*TOTALSEGMENTATOR_NAMES.items(), *HRA_NAMES.items()]
    found = {}
    for value, name in names.items():
        tissue = next((tissue for pattern, tissue in patterns if fnmatchcase(name, pattern)), None)
        if tissue:
            found[value] = tissue
    return found


def draw_tissue_hu(rng: np.random.Generator, phase: str) -> dict[str, float]:
    """The HU in one patient of every tissue that a CT is recoloured with."""
    hu = draw_hu(rng, phase)
    hu["kidney"] = 0.6 * hu["kidney_cortex"] + 0.4 * hu["kidney_medulla"]
    hu["bowel"] = rng.uniform(-20, 50)
    return hu


def draw_whole_body_hu(rng: np.random.Generator, phase: str) -> dict[str, float]:
    """The HU in one patient of every tissue, those too that only a patient without a CT is drawn with."""
    hu = draw_tissue_hu(rng, phase)
    hu["nerve"], hu["thyroid"] = hu["muscle"] - rng.uniform(8, 22), hu["adrenal"] + rng.uniform(50, 80)
    hu["arm_bone"], hu["air"] = hu["spongy_bone"], -970.0
    return hu
