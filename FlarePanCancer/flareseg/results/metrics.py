"""DSC and NSD as the FLARE 2023 challenge counts them.

The rules are those of its public evaluation script: see `score_case`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg import labels
from flareseg.labels import Structure
from flareseg.results.surface import surface_dice
from flareseg.volume import Box, Triple

IGNORED = 255
"""Value of reference voxels that nobody labelled."""
LEAST_DSC_FOR_NSD = 0.2


@dataclass(frozen=True)
class Score:
    """How well one structure of one case agrees with its reference.

    Attributes:
        structure: which one.
        dsc, nsd: 0 to 1; 1 is best.
        reference_ml, prediction_ml: the volume in each, over all slices.
    """

    structure: Structure
    dsc: float
    nsd: float
    reference_ml: float
    prediction_ml: float


def score_case(
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing_zyx_mm: Triple,
    structures: Iterable[Structure] | None = None,
) -> list[Score]:
    """Score one case by FLARE's rules.

    - A structure that neither holds scores 1; one that only one of them holds scores 0.
    - Tubes that run out of the abdomen (aorta, inferior vena cava, esophagus) end in references where the annotators
      stopped, not where the tube does. They count only from the reference's lowest labelled slice to the one below
      its highest: FLARE's script leaves the highest one out. (Where the reference has a single slice, that one counts;
      FLARE's script has no answer there.)
    - NSD is 0 where DSC is below 0.2; its tolerance is each structure's own.
    - Voxels whose reference is 255 count as background in both.

    Args:
        prediction, reference: (z, y, x) uint8 on one grid, in canonical orientation (z towards the head).
        spacing_zyx_mm: voxel size.
        structures: what to score; all 14 unless given.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"a prediction of shape {prediction.shape} and a reference of {reference.shape}")
    ignored = reference == IGNORED
    if ignored.any():
        prediction, reference = np.where(ignored, 0, prediction), np.where(ignored, 0, reference)
    voxel_ml = float(np.prod(spacing_zyx_mm)) / 1000
    boxes = list(zip(_boxes(prediction), _boxes(reference), strict=True))
    scores = []
    for structure in labels.structures() if structures is None else structures:
        predicted_box, reference_box = boxes[structure.value]
        dsc, nsd = _score(structure, prediction, reference, spacing_zyx_mm, predicted_box, reference_box)
        reference_ml = _voxels(reference, reference_box, structure.value) * voxel_ml
        prediction_ml = _voxels(prediction, predicted_box, structure.value) * voxel_ml
        scores.append(Score(structure, dsc, nsd, reference_ml, prediction_ml))
    return scores


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice similarity coefficient of two masks; 1 where both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / total if total else 1.0


def _score(
    structure: Structure,
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    spacing_zyx_mm: Triple,
    predicted_box: Box | None,
    reference_box: Box | None,
) -> tuple[float, float]:
    if predicted_box is None and reference_box is None:
        return 1.0, 1.0
    if predicted_box is None or reference_box is None:
        return 0.0, 0.0
    z, y, x = (
        slice(min(one.start, other.start), max(one.stop, other.stop))
        for one, other in zip(predicted_box, reference_box, strict=True)
    )
    if structure.scored_where_labelled:
        lowest, highest = reference_box[0].start, reference_box[0].stop - 1
        z = slice(lowest, max(highest, lowest + 1))
    # FLARE's script sees arrays in the order x, y, z.
    value, spacing_xyz_mm = structure.value, (spacing_zyx_mm[2], spacing_zyx_mm[1], spacing_zyx_mm[0])
    true, found = np.equal(reference[z, y, x].T, value), np.equal(prediction[z, y, x].T, value)
    overlap = dice(true, found)
    if overlap < LEAST_DSC_FOR_NSD:
        return overlap, 0.0
    return overlap, surface_dice(true, found, spacing_xyz_mm, structure.nsd_tolerance_mm)


def _boxes(labels_zyx: NDArray[np.uint8]) -> list[Box | None]:
    """The box of each value 0 to 255; None for those that do not occur, and for 0."""
    from scipy.ndimage import find_objects

    return [None, *find_objects(labels_zyx, max_label=255)]


def _voxels(labels_zyx: NDArray[np.uint8], box: Box | None, value: int) -> int:
    return int(np.count_nonzero(labels_zyx[box] == value)) if box else 0
