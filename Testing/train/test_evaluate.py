"""Every model is judged on what it has not seen, on what was annotated, once."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_run import LIVER, SPLEEN, TUMOUR, finish, small_run, truth_of

from flareseg.errors import InputError
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from train.config import ExportConfig
from train.fit_config import FitConfig
from train.reporting.lesions import lesion_table
from train.stages.evaluate import evaluate, models_to_evaluate, score
from train.stages.export import read_scores

STOMACH = 11


class Oracle:
    """Says what it is told to."""

    structures = tuple(structures())
    device_description = "none"

    def __init__(self, labels):
        self.labels = labels

    def segment(self, volume):
        return Segmentation(self.labels.astype(np.uint8), volume.geometry, self.structures)


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path)


def judged(run, labels):
    return {
        row["structure"]: (row["dsc"], row["nsd"]) for row in score("m", run[2].of("mine_p4"), Oracle(labels))["rows"]
    }


def test_a_perfect_answer_scores_one_and_what_nobody_annotated_does_not_count(run):
    labels = truth_of(4)
    labels[0] = STOMACH
    assert judged(run, labels) == {"liver": (1, 1), "spleen": (1, 1), "tumour": (1, 1)}


def test_what_is_missed_or_confused_scores_nothing(run):
    truth = truth_of(4)
    found = judged(run, np.where(truth == LIVER, SPLEEN, 0))
    assert found["liver"] == (0, 0)
    assert found["spleen"][0] == found["tumour"][0] == 0


def test_half_an_organ_scores_by_its_overlap(run):
    truth = truth_of(4)
    half = np.where(np.arange(truth.shape[2]) < 26, truth, np.where(truth == SPLEEN, 0, truth))
    assert judged(run, half)["spleen"][0] == pytest.approx(2 / 3, abs=1e-4)


def test_a_structure_that_is_nowhere_is_left_out(run):
    _config, _places, index = run
    case = index.of("mine_p0")
    case = replace(case, annotated=(*case.annotated, "stomach"))
    rows = score("m", case, Oracle(truth_of(0)))["rows"]
    assert "stomach" not in {row["structure"] for row in rows}
    invented = truth_of(0)
    invented[0] = STOMACH
    rows = {row["structure"]: row["dsc"] for row in score("m", case, Oracle(invented))["rows"]}
    assert rows["stomach"] == 0


def test_time_and_size_are_told(run):
    cost = score("m", run[2].of("mine_p4"), Oracle(truth_of(4)))["cost"]
    assert cost["shape_zyx"] == [24, 30, 36]
    assert cost["seconds"] > 0


def test_models_are_judged_on_validation_cases_and_folds_on_theirs(run):
    config, _places, index = run
    config = replace(config, fold_sources=["mine"])
    [final, fold, other] = models_to_evaluate(config, index)
    assert (final.name, [case.name for case in final.cases]) == ("final", ["mine_p4"])
    assert (fold.name, fold.left_out) == ("final_without_mine_p0", ("mine_p0",))
    assert [case.name for case in fold.cases] == ["mine_p0"]
    assert other.left_out == ("mine_p1",)


def test_a_student_is_judged_too(run):
    config, _places, index = run
    student = FitConfig(net="final", epochs=1, task="distill", teacher="final", stage="distill")
    config = replace(config, fits=config.fits | {"small": student})
    assert [model.name for model in models_to_evaluate(config, index)] == ["final", "small"]


def test_a_model_with_a_new_net_for_tumours_goes_by_its_own_name(run):
    config, _places, index = run
    config = replace(config, export=ExportConfig("default", tumour="tumor"))
    assert [(model.name, model.fit) for model in models_to_evaluate(config, index)] == [("small", "default")]


def test_a_fold_of_a_net_for_tumours_judges_no_organs_of_the_model_that_it_is_laid_over(run):
    config, _places, index = run
    laid_over = replace(config, fold_sources=["mine"], export=ExportConfig("default", tumour="tumor"))
    model, *folds = models_to_evaluate(laid_over, index)
    rows = [{"structure": "liver"}, {"structure": "tumour"}]
    assert folds and all(fold.judged(rows) == rows[1:] for fold in folds)
    assert model.judged(rows) == rows
    own = models_to_evaluate(replace(config, fold_sources=["mine"]), index)
    assert len(own) == 3 and all(one.judged(rows) == rows for one in own)


def test_the_stage_writes_tables_plots_and_figures(run):
    config, paths, index = run
    evaluate(config, paths, index)
    rows = read_scores(paths)
    assert {row["structure"] for row in rows} == {"liver", "spleen", "tumour"}
    assert all(0 <= row["dsc"] <= 1 for row in rows)
    assert json.loads((paths.scores / "run.json").read_text())["model"] == "final"
    assert (paths.scores / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert (paths.scores / "scores.csv").read_text().count("\n") == 4
    assert "| Liver |" in (paths.scores / "scores.md").read_text(encoding="utf-8")


def test_cases_are_scored_once_and_anew_for_new_weights_and_rules(run):
    config, paths, index = run
    evaluate(config, paths, index)
    path = paths.scores / "final" / "mine_p4.json"
    before = path.stat().st_mtime_ns
    evaluate(config, paths, index)
    assert path.stat().st_mtime_ns == before
    finish(config, paths, "final", seed=66)
    evaluate(config, paths, index)
    after = path.stat().st_mtime_ns
    assert after != before
    net = replace(config.nets["final"], components={"tumour": {"minimum_ml": 2.0}})
    config = replace(config, nets=config.nets | {"final": net})
    evaluate(config, paths, index)
    ruled = path.stat().st_mtime_ns
    assert ruled != after
    os.utime(index.of("mine_p4").labels, (1, 1))
    evaluate(config, paths, index)
    assert path.stat().st_mtime_ns != ruled


def test_a_damaged_case_is_told_and_the_rest_is_scored(run, capsys):
    config, paths, index = run
    image = index.of("mine_p4").image
    whole = image.read_bytes()
    image.write_bytes(whole[:300])
    evaluate(config, paths, index)
    assert read_scores(paths) == []
    assert "evaluate: final: mine_p4:" in capsys.readouterr().out
    image.write_bytes(whole)
    evaluate(config, paths, index)
    assert len(read_scores(paths)) == 3


def test_nothing_to_judge_on_is_an_error(run):
    config, paths, index = run
    index = replace(index, cases=index.split("train"))
    with pytest.raises(InputError, match="no validation case and no fold"):
        evaluate(config, paths, index)


def test_tumours_missed_score_zero(run):
    truth = truth_of(4)
    assert judged(run, np.where(truth == TUMOUR, LIVER, truth))["tumour"] == (0, 0)


def test_lesions_are_found_missed_and_invented_one_by_one(run):
    case = run[2].of("mine_p4")
    truth = truth_of(4)
    found = score("m", case, Oracle(truth))["lesions"]
    assert [one["found"] for one in found["annotated"]] == [True] and found["false"] == 0
    invented = np.where(truth == TUMOUR, 0, truth)
    invented[-4:, :4, :4] = TUMOUR
    missed = score("m", case, Oracle(invented))["lesions"]
    assert [one["found"] for one in missed["annotated"]] == [False] and missed["false"] == 1
    assert missed["annotated"][0]["mm"] > 5
    table = dict(lesion_table([found, missed]))
    assert sum(int(text.split(" of ")[0]) for text in table.values() if " of " in text) == 1
    assert table["false positives per case"] == "0.5 (0 to 1)"
    assert found["false_in"] == [] and missed["false_in"] == [""]
    assert table["of these in liver and kidneys"] == "0.0 (0 to 0)"
