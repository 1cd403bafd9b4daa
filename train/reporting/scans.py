"""Kinds of scans, by which scores are compared: a model may be good on one kind and useless on another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import by_name
from flareseg.volume import Triple

CONTRAST_HU = 70.0
"""Median of the aorta above which contrast agent is in it; blood without has 30 to 50."""
THICK_MM = 4.0
SLIM_CM2, LARGE_CM2 = 600.0, 850.0
"""Median area of the body's section through the liver; a circle of 28 and of 33 cm across."""
BODY_HU = -300
FEWEST_VOXELS = 50

KINDS = (
    ("contrast", "plain", "contrast unknown"),
    ("slices below 4 mm", "slices of 4 mm and more"),
    ("slim", "average body", "large body", "body unknown"),
)
"""By what scans are told apart; the words of each in the order of tables."""


def kinds_of(hu: NDArray[Any], reference: NDArray[np.uint8], spacing_zyx_mm: Triple) -> list[str]:
    """One word of each of `KINDS`.

    Args:
        hu, reference: (z, y, x), CT and ground truth in canonical orientation.
        spacing_zyx_mm: of both.
    """
    aorta = hu[reference == by_name("aorta").value]
    contrast = "contrast unknown"
    if len(aorta) >= FEWEST_VOXELS:
        contrast = "contrast" if np.median(aorta) > CONTRAST_HU else "plain"
    thickness = "slices of 4 mm and more" if max(spacing_zyx_mm) >= THICK_MM else "slices below 4 mm"
    return [contrast, thickness, _body(hu, reference == by_name("liver").value, spacing_zyx_mm)]


def _body(hu: NDArray[Any], liver: NDArray[np.bool_], spacing_zyx_mm: Triple) -> str:
    heights = np.flatnonzero(liver.any((1, 2)))
    if not len(heights):
        return "body unknown"
    sections = np.count_nonzero(hu[heights] > BODY_HU, axis=(1, 2))
    area_cm2 = float(np.median(sections)) * spacing_zyx_mm[1] * spacing_zyx_mm[2] / 100
    return "slim" if area_cm2 < SLIM_CM2 else "large body" if area_cm2 > LARGE_CM2 else "average body"
