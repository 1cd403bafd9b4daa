"""Lesion detection: annotated tumours that a model found, and false positives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import TUMOUR, by_name, structures
from flareseg.lesion_parts import lesion_parts
from flareseg.results.lesions import find_lesions
from flareseg.segmentation import Segmentation
from flareseg.volume import Orientation, Volume

FOUND = 0.1
"""Fraction of a lesion's voxels that must be segmented as tumour for it to count as found."""
LARGE_MM = 20.0
SOLID = ("liver", "right_kidney", "left_kidney")
"""Organs whose lesions are reported separately, as the clinically most important ones."""
VALUES = 256
UNKNOWN_FROM = 1 + max(one.value for one in structures())
"""Label values from here on are no structure: what is there is not known."""


def compare_lesions(reference: NDArray[np.uint8], prediction: NDArray[np.uint8], volume: Volume) -> dict[str, Any]:
    """Match annotated and predicted lesions.

    Args:
        reference, prediction: (z, y, x), FLARE label values, on the grid of `volume`.
        volume: the CT.

    Returns:
        "annotated": for each lesion of at least 0.1 ml its host organ or "", longest axial diameter in mm, and whether
        it was found. "false": number of predicted lesions of that size without any annotated tumour or unknown voxel;
        "false_in": for each of them the organ that most of it covers, or "".
    """
    tumour, orientation = by_name(TUMOUR), Orientation.of(volume.geometry)
    truth, drawn = (orientation.to_canonical(labels) for labels in (reference, prediction))
    annotated = [
        {
            "host": lesion.host.name if lesion.host else "",
            "mm": round(lesion.longest.mm, 1),
            "found": float((drawn[lesion.box][lesion.mask] == tumour.value).mean()) >= FOUND,
        }
        for lesion in find_lesions(Segmentation(reference, volume.geometry, structures()), None)
    ]
    counts = _covered(Segmentation(prediction, volume.geometry, structures()), truth)
    false = counts[(counts[:, tumour.value] == 0) & (counts[:, UNKNOWN_FROM:].sum(axis=1) == 0)]
    return {"annotated": annotated, "false": len(false), "false_in": [_organ_of(one) for one in false]}


def _covered(prediction: Segmentation, truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Of each predicted lesion (n, 256): how many of its voxels each value of `truth`, in canonical order, has."""
    found = lesion_parts(prediction)
    if found is None:
        return np.zeros((0, VALUES), np.int64)
    numbers = found.lesion_numbers()
    inside = numbers > 0
    pairs = numbers[inside].astype(np.int64) * VALUES + truth[found.around][inside]
    return np.bincount(pairs, minlength=VALUES * (len(found.kept) + 1)).reshape(-1, VALUES)[1:]


def _organ_of(counts: NDArray[np.int64]) -> str:
    """The organ that has most of a lesion's voxels, if a third or more of them are its; otherwise ""."""
    organ = max((one for one in structures() if one.name != TUMOUR), key=lambda one: counts[one.value])
    return organ.name if 3 * counts[organ.value] >= counts.sum() else ""


def lesion_table(cases: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Table rows: found of annotated lesions by site and size, and false positives per case.

    Args:
        cases: results of `compare_lesions`, one per case.
    """
    rows: list[tuple[str, ...]] = []
    for title, solid in (("liver and kidneys", True), ("elsewhere", False)):
        for size, large in ((f"{LARGE_MM:g} mm and more", True), ("smaller", False)):
            mine = [
                one["found"]
                for case in cases
                for one in case["annotated"]
                if (one["host"] in SOLID) == solid and (one["mm"] >= LARGE_MM) == large
            ]
            rows.append((f"{title}, {size}", f"{sum(mine)} of {len(mine)}"))
    false = [case["false"] for case in cases]
    rows.append(("false positives per case", f"{np.mean(false):.1f} ({min(false)} to {max(false)})"))
    if all("false_in" in case for case in cases):  # not in scores that an older version stored
        solid_ones = [sum(host in SOLID for host in case["false_in"]) for case in cases]
        rows.append(
            ("of these in liver and kidneys", f"{np.mean(solid_ones):.1f} ({min(solid_ones)} to {max(solid_ones)})")
        )
    return rows
