"""Features of shape and first order are PyRadiomics' own: compared with its answers, which were recorded."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from radiomics_masks import Case, cases

from flareseg.labels import by_name
from flareseg.results.columns import FEATURES
from flareseg.results.densities import Densities
from flareseg.results.features import features_of
from flareseg.results.measure import measure
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume, as_rows

ANSWERS = json.loads((Path(__file__).parent / "data" / "pyradiomics.json").read_text(encoding="utf-8"))["answers"]
MEASURED = sorted(name for name, answer in ANSWERS.items() if answer)
LIVER = by_name("liver")


def measured(case: Case) -> dict[str, float]:
    grid = Geometry(case.mask.shape, case.spacing_zyx_mm, direction=as_rows(np.reshape(case.direction, (3, 3))))
    labels = np.where(case.mask, LIVER.value, 0).astype(np.uint8)
    [row] = measure(Segmentation(labels, grid, (LIVER,)), Volume(case.hu, grid), features=True)
    assert row.features is not None
    return row.features


def test_the_answers_are_of_these_masks():
    assert set(ANSWERS) == set(cases())


@pytest.mark.parametrize("name", MEASURED)
def test_every_feature_is_that_of_pyradiomics(name):
    expected, found = ANSWERS[name], measured(cases()[name])
    assert list(found) == list(expected)
    for feature, value in expected.items():
        assert found[feature] == pytest.approx(value, rel=1e-9, abs=1e-9), feature


def test_its_features_and_ours_are_the_same_in_the_same_order():
    assert all(list(ANSWERS[name]) == [column.name for column in FEATURES] for name in MEASURED)


@pytest.mark.parametrize("name", ["a line of voxels", "one voxel"])
def test_what_pyradiomics_refuses_to_measure_has_no_features(name):
    assert ANSWERS[name] is None and measured(cases()[name]) == {}


def test_a_mask_that_fills_the_image_is_measured_though_pyradiomics_refuses_it():
    case = cases()["the whole image"]
    found = measured(case)
    voxel_mm3 = float(np.prod(case.spacing_zyx_mm))
    assert ANSWERS["the whole image"] is None
    assert found["original_shape_VoxelVolume"] == pytest.approx(case.mask.size * voxel_mm3)
    assert found["original_firstorder_Mean"] == pytest.approx(case.hu.mean())


def test_hu_that_are_no_numbers_do_not_count():
    case = cases()["fractions of HU"]
    spoilt = case.hu.copy()
    z, y, x = np.argwhere(case.mask)[5]
    spoilt[z, y, x] = np.nan
    kept = case.hu[case.mask & np.isfinite(spoilt)]
    assert measured(replace(case, hu=spoilt))["original_firstorder_Mean"] == pytest.approx(kept.mean(dtype=float))
    empty = measured(replace(case, hu=np.full_like(spoilt, np.nan)))
    assert len(empty) == 14 and all(name.startswith("original_shape_") for name in empty)


def test_huge_hu_give_no_infinite_feature():
    case = cases()["fractions of HU"]
    found = measured(replace(case, hu=np.where(case.hu > 0, 3e38, -3e38).astype(np.float32)))
    assert all(np.isfinite(value) for value in found.values())


def test_statistics_of_fractions_and_of_whole_hu_agree():
    whole = np.array([-5, -5, 0, 7, 7, 7, 40], np.int16)
    one, other = Densities.of(whole), Densities.of(whole.astype(np.float32))
    assert one and other and (one.hu == other.hu).all() and (one.voxels == other.voxels).all()
    for per_cent in (0, 5, 25, 50, 75, 95, 100):
        assert one.percentile(per_cent) == pytest.approx(np.percentile(whole, per_cent))
    assert (one.mean, one.variance) == (pytest.approx(whole.mean()), pytest.approx(whole.var()))


def test_features_of_a_mask_need_no_hu():
    case = cases()["sparse noise"]
    assert len(features_of(case.mask, None, case.spacing_zyx_mm)) == 14
