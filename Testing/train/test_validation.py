"""Validation: on fixed patches or on new ones each time, and which weights count as the best."""

import csv
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_fit import SETTINGS, run, small_case, small_work

from train.fit_config import AugmentConfig
from train.training.checkpoints import BEST, LOG, CheckpointCallback, write_log
from train.training.trainer import _validation

CPU = torch.device("cpu")
DRAWN = replace(SETTINGS, validate_every=1, validation_patches=6, validation_drawn=True, foreground_rule="nnunet")


def judged(folder, scores, memory):
    """What the log says of some scores, and at which of them best.ckpt was written."""
    module = SimpleNamespace(settings=replace(SETTINGS, validation_memory=memory), rows=[], average={})
    module.log = lambda *args, **more: None
    callback, written = CheckpointCallback(folder, lambda epoch: []), []
    for step, score in enumerate(scores):
        row = {"epoch": step, "score": ""}
        module.score = lambda batches, score=score: score
        callback._score(row, ["patches"], SimpleNamespace(global_step=step), module)
        module.rows.append(row)
        written += [step] if torch.load(folder / BEST, weights_only=True)["step"] == step else []
    return module.rows, written


def test_the_best_weights_are_those_of_the_best_score(tmp_path):
    rows, written = judged(tmp_path, [0.5, 0.9, 0.7, 0.95], 0.0)
    assert written == [0, 1, 3] and list(rows[0]) == ["epoch", "score"]


def test_or_of_the_best_moving_average_which_one_lucky_score_does_not_decide(tmp_path):
    rows, written = judged(tmp_path, [0.5, 0.9, 0.52, 0.6, 0.62], 0.9)
    averages = [0.5, 0.54, 0.538, 0.5442, 0.55178]
    np.testing.assert_allclose([row["moving_score"] for row in rows], averages, atol=1e-5)
    assert written == [0, 1, 3, 4]


def test_a_log_that_began_without_a_column_gets_it(tmp_path):
    write_log([{"epoch": 1, "score": 0.5}, {"epoch": 2, "score": 0.6, "moving_score": 0.51}], tmp_path / LOG)
    with (tmp_path / LOG).open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"epoch": "1", "score": "0.5", "moving_score": ""},
            {"epoch": "2", "score": "0.6", "moving_score": "0.51"},
        ]


def test_drawn_patches_are_new_in_every_epoch_and_the_same_when_a_fit_resumes(tmp_path):
    job = small_work(tmp_path, settings=DRAWN, validation=[small_case(7), small_case(8)])
    first, again, second = ([batch["image"] for batch in _validation(job, CPU, epoch)] for epoch in (0, 0, 1))
    assert len(first) == 6 and all(map(torch.equal, first, again)) and not any(map(torch.equal, first, second))
    assert list(_validation(small_work(tmp_path, settings=DRAWN), CPU, 0)) == []
    fixed = small_work(tmp_path, settings=replace(DRAWN, validation_drawn=False), validation=job.validation)
    assert all(
        torch.equal(a["image"], b["image"]) for a, b in zip(*(_validation(fixed, CPU, e) for e in (0, 1)), strict=True)
    )


def test_drawn_patches_lie_where_they_should_though_the_score_is_computed_in_half_precision(tmp_path):
    finer = replace(small_case(7), spacing_zyx_mm=(2.0, 3.0, 3.0))
    job = small_work(tmp_path, settings=DRAWN, validation=[finer])
    with torch.autocast("cpu", torch.bfloat16):
        within = [batch["image"] for batch in _validation(job, CPU, 0)]
    assert all(torch.equal(one, batch["image"]) for one, batch in zip(within, _validation(job, CPU, 0), strict=True))


def test_a_fit_of_nnunets_recipe_scores_new_patches_every_epoch_and_logs_the_moving_average(tmp_path):
    short = {"epochs": 2, "steps_per_epoch": 2, "average_decay": 0.0, "augment": AugmentConfig(recipe="nnunet")}
    settings = replace(DRAWN, validation_memory=0.9, **short)
    run(small_work(tmp_path / "fit", settings=settings, validation=[small_case(7)]))
    with (tmp_path / "fit" / LOG).open(encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 2 and rows[0]["moving_score"] == rows[0]["score"]
    np.testing.assert_allclose(rows[1]["moving_score"], 0.9 * rows[0]["score"] + 0.1 * rows[1]["score"], atol=2e-5)
    assert (tmp_path / "fit" / BEST).exists()
