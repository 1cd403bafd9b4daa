"""What a reader is warned of, and what he is not."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from flareseg.labels import by_name, structures
from flareseg.results.measure import measure
from flareseg.results.warnings import (
    METAL_FROM_HU,
    REFERENCES,
    CaseWarning,
    listed,
    mean_confidence,
    reference_volumes,
    warnings_of,
)
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

LIVER, AORTA, SPLEEN, TUMOUR = (by_name(name) for name in ("liver", "aorta", "spleen", "tumour"))
SHAPE = (40, 60, 60)


def a_case(spacing_zyx_mm: tuple[float, float, float] = (5.0, 4.0, 4.0)) -> tuple[Segmentation, Volume]:
    """A liver of 1.2 litres and an aorta with contrast agent, away from the edges."""
    geometry = Geometry(SHAPE, spacing_zyx_mm)
    hu, labels = np.full(SHAPE, 20, np.int16), np.zeros(SHAPE, np.uint8)
    labels[10:30, 10:34, 10:41] = LIVER.value
    labels[10:30, 40:46, 28:34], hu[10:30, 40:46, 28:34] = AORTA.value, 180
    return Segmentation(labels, geometry, structures()), Volume(hu, geometry)


def warned(segmentation: Segmentation, volume: Volume) -> dict[str, CaseWarning]:
    return {one.kind: one for one in warnings_of(segmentation, volume, measure(segmentation, volume))}


def changed(case: tuple[Segmentation, Volume], value: int, box: tuple[slice, ...]) -> tuple[Segmentation, Volume]:
    labels = case[0].labels.copy()
    labels[box] = value
    return replace(case[0], labels=labels), case[1]


def test_an_ordinary_ct_needs_no_warning() -> None:
    assert warned(*a_case()) == {}


def test_without_contrast_agent_the_aorta_tells() -> None:
    segmentation, volume = a_case()
    hu = np.where(segmentation.labels == AORTA.value, 41, volume.hu).astype(np.int16)
    hu[10:13][segmentation.labels[10:13] == AORTA.value] = 900  # calcified: the median does not mind
    found = warned(segmentation, replace(volume, hu=hu))
    assert list(found) == ["no_contrast"]
    assert "41 HU" in found["no_contrast"].text and found["no_contrast"].structures == ("aorta",)


def test_a_liver_at_the_edge_is_cut_off_and_vessels_there_are_not() -> None:
    cut = changed(a_case(), LIVER.value, np.s_[:12, 10:34, 10:41])
    assert warned(*cut)["cut_off"].text.startswith("The field of view cuts off the liver")
    assert "cut_off" not in warned(*changed(a_case(), AORTA.value, np.s_[:, 40:46, 28:34]))


def test_slices_of_more_than_5_mm_are_said_to_be_thick() -> None:
    assert "thick_slices" not in warned(*a_case((5.0, 4.0, 4.0)))
    text = warned(*a_case((8.0, 4.0, 4.0)))["thick_slices"].text
    assert "8 mm" in text and "16 mm" in text


def test_metal_matters_in_slices_that_show_structures() -> None:
    segmentation, volume = a_case()
    hu = volume.hu.copy()
    hu[36:39, 5:9, 5:9] = METAL_FROM_HU
    assert "metal" not in warned(segmentation, replace(volume, hu=hu))
    hu[20:23, 5:9, 5:9] = METAL_FROM_HU
    found = warned(segmentation, replace(volume, hu=hu))["metal"]
    assert found.structures == ("liver", "aorta") and "3.8 ml" in found.text
    # The same patient in a file whose axes run otherwise has the same slices.
    direction = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    geometry = Geometry((60, 60, 40), (4.0, 4.0, 5.0), direction=direction)
    turned = replace(segmentation, labels=segmentation.labels.transpose(2, 1, 0), geometry=geometry)
    assert warned(turned, Volume(hu.transpose(2, 1, 0), geometry))["metal"] == found


def test_an_unusual_volume_is_told_with_its_source_and_tumours_count_for_their_organ() -> None:
    segmentation, volume = a_case()
    assert "unusual_volume" not in warned(segmentation, volume)
    small = changed(a_case(), 0, np.s_[20:30, 10:34, 10:41])
    text = warned(*small)["unusual_volume"].text
    assert "595 ml" in text and "814 to 1,906 ml" in text and "Kromrey" in text
    with_tumour = changed(a_case(), TUMOUR.value, np.s_[15:25, 14:30, 14:36])
    assert "unusual_volume" not in warned(*with_tumour)


def test_what_is_cut_off_can_be_too_large_only() -> None:
    small = changed(changed(a_case(), 0, np.s_[18:30, 10:34, 10:41]), LIVER.value, np.s_[:10, 10:16, 10:41])
    assert "unusual_volume" not in warned(*small)
    large = changed(a_case(), LIVER.value, np.s_[:35, 5:38, 5:50])
    assert "unusual_volume" in warned(*large)


def test_structures_of_which_the_network_is_not_sure_are_named() -> None:
    segmentation, volume = a_case()
    sure = np.where(segmentation.labels == LIVER.value, 95, 0).astype(np.uint8)
    sure[segmentation.labels == AORTA.value] = 55
    asked = replace(segmentation, confidence=sure)
    assert mean_confidence(asked) == pytest.approx({"liver": 0.95, "aorta": 0.55})
    found = warned(asked, volume)["low_confidence"]
    assert found.structures == ("aorta",) and "aorta (55 %)" in found.text
    assert mean_confidence(segmentation) == {}


def test_an_empty_result_and_a_model_of_other_structures_are_taken() -> None:
    segmentation, volume = a_case()
    assert warned(replace(segmentation, labels=np.zeros_like(segmentation.labels)), volume) == {}
    other = replace(LIVER, name="left_lung", title="Left lung")
    assert warned(replace(segmentation, structures=(other,)), volume) == {}


def test_every_reference_is_of_a_structure_and_has_a_source() -> None:
    names = {one.name for one in structures()}
    assert set(reference_volumes()) <= names and len(reference_volumes()) >= 7
    assert all(0 < one.low_ml < one.high_ml and "doi 10." in one.source for one in reference_volumes().values())
    with REFERENCES.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(reference_volumes())


def test_words_are_listed_as_a_sentence_lists_them() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
