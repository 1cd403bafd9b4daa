"""Tables from label value to tissue, for `resynthesis.py`.

A tissue is a key of `body.contrast.draw_hu`, and its intensity depends on the contrast phase ("kidney" is cortex and
medulla together, "bowel" its content). Values missing from a table have unknown tissue.
"""

from __future__ import annotations

from collections.abc import Mapping

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
