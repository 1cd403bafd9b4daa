"""Lesion detection: annotated tumours that a model found, and false positives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from flareseg.labels import TUMOUR, Structure, by_name, structures
from flareseg.results.lesions import SMALLEST_ML, find_lesions
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume

FOUND = 0.1
"""Fraction of a lesion's voxels that must be segmented as tumour for it to count as found."""
LARGE_MM = 20.0
SOLID = ("liver", "right_kidney", "left_kidney")
"""Organs whose lesions are reported separately, as the clinically most important ones."""


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
    tumour = by_name("tumour")
    annotated = []
    for mask, mm, host in _lesions(reference, volume, tumour):
        found = float((prediction[mask] == tumour.value).mean()) >= FOUND
        annotated.append({"host": host, "mm": round(mm, 1), "found": found})
    parts, _ = cc3d.connected_components(prediction == tumour.value, connectivity=26, return_N=True)
    sizes = np.bincount(parts.ravel())
    real = np.unique(parts[(reference == tumour.value) | (reference > max(s.value for s in structures()))])
    large = np.flatnonzero(sizes * volume.geometry.voxel_ml >= SMALLEST_ML)
    false = sorted(set(large.tolist()) - set(real.tolist()) - {0})
    return {"annotated": annotated, "false": len(false), "false_in": [_covered(reference[parts == n]) for n in false]}


def _covered(labels: NDArray[np.uint8]) -> str:
    """The organ that has most of these voxels, if a third or more of them are its; otherwise ""."""
    counts = {s.name: int(np.count_nonzero(labels == s.value)) for s in structures() if s.name != TUMOUR}
    name = max(counts, key=counts.__getitem__)
    return name if 3 * counts[name] >= labels.size else ""


def _lesions(
    labels: NDArray[np.uint8], volume: Volume, tumour: Structure
) -> Iterable[tuple[NDArray[np.bool_], float, str]]:
    """Mask, longest diameter and host organ of every lesion of at least the minimum size."""
    parts, count = cc3d.connected_components(labels == tumour.value, connectivity=26, return_N=True)
    for number in range(1, count + 1):
        mask = parts == number
        alone = np.where(mask | (labels != tumour.value), labels, 0).astype(np.uint8)
        for lesion in find_lesions(Segmentation(alone, volume.geometry, tuple(structures())), volume):
            yield mask, lesion.longest.mm, lesion.host.name if lesion.host else ""


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
