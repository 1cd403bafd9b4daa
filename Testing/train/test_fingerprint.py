"""Intensities as nnU-Net measures them, of a sample that a reader can check by hand."""

import json

import numpy as np
import pytest

from flareseg.errors import InputError
from train.data.fingerprint import VOXELS, measure, read_statistics, sample_of, write_statistics

SPACINGS = [(5.0, 0.8, 0.8), (2.0, 0.7, 0.7), (2.5, 0.9, 0.9)]
SHAPES = [(100, 512, 512), (200, 512, 512), (150, 400, 512)]


def test_a_sample_counts_the_foreground_alone():
    hu = np.array([[[10, 20, 20], [30, -1000, 20]]], np.int16)
    assert sample_of(hu, hu > 0, seed=0) == {10: 1, 20: 3, 30: 1}


def test_a_large_case_counts_no_more_than_others():
    hu = np.random.default_rng(0).integers(-100, 200, (40, 60, 60)).astype(np.int16)
    sample = sample_of(hu, np.ones(hu.shape, bool), seed=0)
    assert sum(sample.values()) == VOXELS
    assert sample == sample_of(hu, np.ones(hu.shape, bool), seed=0)


def test_measured_intensities_are_those_of_all_voxels_together():
    rng = np.random.default_rng(1)
    values = [rng.normal(80, 30, 5000).round().astype(int), rng.normal(120, 20, 3000).round().astype(int)]
    samples = [dict(zip(*(part.tolist() for part in np.unique(v, return_counts=True)), strict=True)) for v in values]
    found = measure(samples, SPACINGS, SHAPES)
    together = np.concatenate(values)
    assert found.intensity.clip_hu == pytest.approx(np.percentile(together, (0.5, 99.5)))
    assert found.intensity.mean_hu == pytest.approx(together.mean())
    assert found.intensity.std_hu == pytest.approx(together.std())
    assert (found.median_spacing_zyx_mm, found.median_shape_zyx) == ((2.5, 0.8, 0.8), (150, 512, 512))
    assert (found.cases, found.voxels, found.foreground) == (2, 8000, "structures")


def test_a_constant_foreground_still_gives_a_range_and_a_deviation():
    intensity = measure([{40: 9}], SPACINGS, SHAPES).intensity
    assert intensity.clip_hu[1] > intensity.clip_hu[0]
    assert intensity.std_hu > 0


def test_no_foreground_is_an_error():
    with pytest.raises(InputError, match="No training case"):
        measure([{}], SPACINGS, SHAPES)


def test_statistics_come_back_from_their_file(tmp_path):
    found = measure([{40: 9, 60: 4}], SPACINGS, SHAPES, "body")
    write_statistics(found, tmp_path / "statistics.json")
    assert read_statistics(tmp_path / "statistics.json") == found


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"intensity": {"clip_hu": [1]}})])
def test_damaged_statistics_say_what_to_do(tmp_path, text):
    path = tmp_path / "statistics.json"
    path.write_text(text)
    with pytest.raises(InputError, match="damaged; run the stage 'prepare' again"):
        read_statistics(path)


def test_missing_statistics_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match="run the stage 'prepare' first"):
        read_statistics(tmp_path / "statistics.json")
