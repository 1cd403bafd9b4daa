"""What DSC is to be expected: learnt from unseen cases, judged on folds that it was not learnt from."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import small_run

from flareseg.expectation import Signs
from flareseg.model.bundle import load_bundle
from flareseg.model.calibration import Calibration
from train.calibration import FEWEST_CASES, Sample, calibration_error, fit, judged_by_other_folds, samples_of
from train.pipeline import Run, export
from train.reporting.reliability import check_table, reliability_table, write_reliability
from train.stages.evaluate import write_calibration
from train.stages.export import read_calibration

TRUE = Calibration(-1.0, {"sureness": 0.8})
FOLDS = ("final_without_a", "final_without_b", "final_without_c")


def some_samples(structures=("liver", "spleen"), count=36, noise=0.03):
    """The nets' own opinion, which is too good, and a DSC that follows `TRUE`."""
    rng, result = np.random.default_rng(4), []
    for number, structure in enumerate(structures):
        for case in range(count):
            sureness = rng.uniform(0.5, 0.97)
            signs = Signs(sureness, min(1, sureness + 0.02), float(rng.uniform(20, 900)), 1.0)
            dsc = float(np.clip(TRUE.expected_dsc(signs) + rng.normal(0, noise), 0, 1))
            result.append(Sample(FOLDS[case % 3], f"case_{case}", structure, signs, dsc - 0.05 * number))
    return result


def test_what_is_learnt_is_what_was_true():
    samples = some_samples(noise=0.0)
    known = fit(samples)
    assert set(known) == {"liver", "spleen"}
    misses = [abs(known[one.structure].expected_dsc(one.signs) - one.dsc) for one in samples]
    assert np.mean(misses) < 0.02
    assert all(min(one.weights[name] for name in ("sureness", "agreement", "kept")) >= 0 for one in known.values())


def test_less_sureness_never_promises_more_even_where_cases_say_so():
    samples = [replace(one, dsc=1 - one.dsc) for one in some_samples()]
    for one in fit(samples).values():
        assert one.weights["sureness"] == one.weights["agreement"] == 0


def test_a_fold_is_judged_by_the_others_only():
    samples = some_samples()
    judged = judged_by_other_folds(samples)
    assert {one.sample for one in judged} == set(samples)
    changed = [replace(one, dsc=0.0) if one.fold == FOLDS[0] else one for one in samples]
    for before, after in zip(judged, judged_by_other_folds(changed), strict=True):
        assert (before.expected_dsc == after.expected_dsc) == (before.sample.fold == FOLDS[0])


def test_few_cases_teach_nothing():
    samples = some_samples(count=FEWEST_CASES - 1)
    assert fit(samples) == {} and judged_by_other_folds(samples) == []


def test_the_error_is_that_of_bins():
    assert calibration_error([0.95, 0.91, 0.15], [0.91, 0.95, 0.15]) == pytest.approx(0)
    assert calibration_error([0.95, 0.95, 0.15, 1.0], [0.85, 0.75, 0.35, 1.0]) == pytest.approx((0.3 + 0.2) / 4)


def test_samples_are_blind_scores_of_what_was_drawn():
    row = {"model": FOLDS[0], "case": "mine_p1", "structure": "liver", "dsc": 0.5}
    signs = {"sureness": 0.8, "agreement": 0.7, "volume_ml": 3.0, "kept": 1.0}
    said = [{"model": FOLDS[0], "case": "mine_p1", "structures": {"liver": signs}}]
    others = [row | {"model": "final"}, row | {"structure": "spleen"}, row | {"case": "mine_p2"}]
    assert samples_of([row, *others], said) == [Sample(FOLDS[0], "mine_p1", "liver", Signs(**signs), 0.5)]


def test_tables_and_a_plot_show_how_far_it_can_be_trusted(tmp_path):
    judged = judged_by_other_folds(some_samples())
    [head, *body] = reliability_table(judged)
    assert [row[0] for row in body] == ["Liver", "Spleen", "**All**"] and len(head) == len(body[0])
    assert all(float(row[4]) < float(row[3]) and float(row[6]) < float(row[5]) for row in body)
    _, before, after = check_table(judged)
    assert int(after[1]) > int(before[1])
    write_reliability(judged, tmp_path)
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert "| **All** |" in (tmp_path / "calibration.md").read_text()


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path)[:2]


def test_the_exported_model_has_what_was_learnt(run):
    config, paths = run
    write_calibration(some_samples(), paths)
    known = read_calibration(paths)
    assert known == fit(some_samples())
    export(Run(config))
    assert load_bundle(config.output).plan.calibration == known


def test_what_would_be_no_better_is_not_written(run):
    _, paths = run
    write_calibration([replace(one, dsc=one.signs.agreement) for one in some_samples()], paths)
    assert json.loads(paths.calibration.read_text()) == {} and read_calibration(paths) == {}
    write_calibration([], paths)
    assert read_calibration(paths) == {}
