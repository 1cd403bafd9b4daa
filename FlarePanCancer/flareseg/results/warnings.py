"""What a person should know before trusting a result, in words: contrast, field of view, slices, metal, odd volumes.

One list for whoever shows it: the report, a table, a panel. No text quotes a file, so that all may be passed on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from flareseg import labels
from flareseg.expectation import expected_quality
from flareseg.labels import TUMOUR
from flareseg.results.measure import Measurement, in_ml
from flareseg.results.regions import Regions
from flareseg.segmentation import Segmentation
from flareseg.volume import Orientation, Volume, box_of

Kind = Literal["no_contrast", "cut_off", "thick_slices", "metal", "unusual_volume", "low_confidence"]

NO_CONTRAST_BELOW_HU = 80.0
"""Median of the aorta: blood without contrast agent has 30 to 60 HU, in late phases still more than 100."""
LEAST_AORTA_ML = 1.0
THICKEST_MM = 5.0
"""RECIST 1.1 asks for slices of 5 mm at the most; in thicker ones a lesion must be as long as two slices are thick."""
METAL_FROM_HU = 2500
LEAST_METAL_ML = 0.2
LEAST_CONFIDENCE = 0.70
MOST_NAMED = 4
"""Of structures in one sentence, where more would hide what it says."""
REFERENCES = Path(__file__).with_name("reference_volumes.csv")


@dataclass(frozen=True)
class CaseWarning:
    """One of them.

    Attributes:
        kind: what it is about, for programs.
        text: a sentence or two.
        structures: names of those concerned; none where it is about the whole CT.
    """

    kind: Kind
    text: str
    structures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """Between which volumes 95 of 100 healthy adults lie (mean ± 2 standard deviations), and who says so."""

    low_ml: float
    high_ml: float
    people: str
    source: str


@cache
def reference_volumes() -> Mapping[str, Reference]:
    """By the structure's name."""
    with REFERENCES.open(newline="", encoding="utf-8") as file:
        return {
            row["structure"]: Reference(float(row["low_ml"]), float(row["high_ml"]), row["people"], row["source"])
            for row in csv.DictReader(file)
        }


def warnings_of(segmentation: Segmentation, volume: Volume, rows: Sequence[Measurement]) -> list[CaseWarning]:
    """Everything a reader should know of one result.

    Args:
        segmentation: on the grid of `volume`.
        volume: the CT.
        rows: what `measure` gave.
    """
    found = (
        _no_contrast(segmentation, volume),
        _cut_off(rows),
        _thick_slices(volume),
        _metal(segmentation, volume),
        *_unusual_volumes(rows),
        _low_confidence(segmentation, rows),
    )
    return [one for one in found if one]


def mean_confidence(segmentation: Segmentation) -> dict[str, float]:
    """How sure the network is of each structure it found, 0 to 1: the mean over its voxels; empty where nobody asked
    the network."""
    if segmentation.confidence is None:
        return {}
    regions = Regions(segmentation.labels)
    return {
        one.name: float(region.of(segmentation.confidence).mean() / 100)
        for one in segmentation.structures
        if (region := regions.of(one.value))
    }


def _no_contrast(segmentation: Segmentation, volume: Volume) -> CaseWarning | None:
    aorta = next((one for one in segmentation.structures if one.name == "aorta"), None)
    box = box_of(segmentation.labels == aorta.value) if aorta else None
    if aorta is None or box is None:
        return None
    hu = volume.hu[box][segmentation.labels[box] == aorta.value]
    if len(hu) * segmentation.geometry.voxel_ml < LEAST_AORTA_ML or np.median(hu) >= NO_CONTRAST_BELOW_HU:
        return None
    text = (
        f"No contrast agent in the blood: the aorta has {np.median(hu):.0f} HU (median). "
        "Tumours stand out less and are missed more easily."
    )
    return CaseWarning("no_contrast", text, ("aorta",))


def _cut_off(rows: Sequence[Measurement]) -> CaseWarning | None:
    """Vessels and the esophagus go on beyond any CT of the abdomen; that needs no warning."""
    passing = {one.name for one in labels.structures() if one.scored_where_labelled}
    whole = [row for row in rows if row.lesion is None]
    names = [row.structure for row in whole if row.touches_border and row.structure not in passing]
    if not names:
        return None
    named = [f"the {labels.title_of(name).lower()}" if name != TUMOUR else "a tumour" for name in names]
    text = f"The field of view cuts off {listed(named)}: what is measured there is too small."
    return CaseWarning("cut_off", text, tuple(names))


def _thick_slices(volume: Volume) -> CaseWarning | None:
    mm = max(volume.geometry.spacing_zyx_mm)
    if mm <= THICKEST_MM:
        return None
    text = (
        f"Slices of {mm:.3g} mm: lesions shorter than {2 * mm:.3g} mm may be missed, and small structures "
        "are measured roughly."
    )
    return CaseWarning("thick_slices", text)


def _metal(segmentation: Segmentation, volume: Volume) -> CaseWarning | None:
    """Metal in slices (across the patient's long axis) that also show structures: streaks lie within the slice."""
    orientation = Orientation.of(volume.geometry)
    hu, drawn = orientation.to_canonical(volume.hu), orientation.to_canonical(segmentation.labels)
    slices = [z for z in range(len(hu)) if drawn[z].any()]
    voxels = {z: int(np.count_nonzero(hu[z] >= METAL_FROM_HU)) for z in slices}
    ml = sum(voxels.values()) * volume.geometry.voxel_ml
    if ml < LEAST_METAL_ML:
        return None
    beside = np.zeros(256, bool)
    for z, count in voxels.items():
        if count:
            beside[np.unique(drawn[z])] = True
    near = [one for one in segmentation.structures if beside[one.value]]
    text = (
        f"Metal, or contrast agent as dense ({ml:.1f} ml from {METAL_FROM_HU:,} HU on), in slices of "
        f"{shortlist([one.title.lower() for one in near])}: streaks may spoil their borders."
    )
    return CaseWarning("metal", text, tuple(one.name for one in near))


def _unusual_volumes(rows: Sequence[Measurement]) -> Iterable[CaseWarning]:
    """Organs, with the tumours in them, outside the range of adults; one that is cut off can only be too large."""
    references = reference_volumes()
    for row in rows:
        reference = references.get(row.structure)
        if reference is None or row.lesion is not None or not row.voxels:
            continue
        ml = row.volume_ml if row.with_lesions_ml is None else row.with_lesions_ml
        if ml > reference.high_ml or (ml < reference.low_ml and not row.touches_border):
            usual = f"{reference.low_ml:g} to {reference.high_ml:,g} ml in 95 of 100"
            source = reference.source.split(", doi")[0]
            text = f"{labels.title_of(row.structure)} of {in_ml(ml)} ml, unusual for an adult: {usual} ({source})."
            yield CaseWarning("unusual_volume", text, (row.structure,))


def _low_confidence(segmentation: Segmentation, rows: Sequence[Measurement]) -> CaseWarning | None:
    """By the DSC that is expected; of a model that was not calibrated by its probabilities, where they were kept."""
    if any(row.expected_dsc is not None for row in rows):
        unsure = {
            row.structure: f"expected DSC {row.expected_dsc:.2f}" for row in rows if expected_quality(row.expected_dsc)
        }
        text = "Check this: {}. Where the model was as unsure in CTs that it had not seen, it was often wrong."
    else:
        means = mean_confidence(segmentation)
        unsure = {name: f"{int(100 * mean)} %" for name, mean in means.items() if mean < LEAST_CONFIDENCE}
        text = "The model is not sure of: {}. Look at them."
    if not unsure:
        return None
    named = [f"{labels.title_of(name).lower()} ({why})" for name, why in unsure.items()]
    return CaseWarning("low_confidence", text.format(listed(named)), tuple(unsure))


def shortlist(words: Sequence[str]) -> str:
    """As `listed`, of long lists the first few."""
    rest = len(words) - MOST_NAMED
    return listed(words) if rest <= 1 else listed([*words[:MOST_NAMED], f"{rest} more"])


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
