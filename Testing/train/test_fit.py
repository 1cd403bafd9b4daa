"""The loop and the stages, on two phantoms so coarse that everything takes seconds."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flareseg.model.network import build_network, load_weights
from train.__main__ import main
from train.config import load_config
from train.fit import DONE, LAST, LOG, averaged_weights, fit
from train.pipeline import cached_phantoms

SMOKE = Path(__file__).parents[2] / "train" / "configs" / "smoke.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def config(folder):
    return load_config(SMOKE, [f"runs={folder}", "base.precision=32-true"])


def steps(folder):
    with (folder / LOG).open() as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_an_interrupted_fit_goes_on_at_the_same_step_and_ends_like_an_uninterrupted_one(config, tmp_path, monkeypatch):
    phantoms = cached_phantoms(config)
    straight = fit(tmp_path / "straight", config, config.base, phantoms, [])

    def pull_the_plug(learner, batch, index):
        if learner.global_step == 4:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("train.fit.Learner.on_after_backward", lambda self: pull_the_plug(self, None, 0))
        with pytest.raises(RuntimeError, match="power cut"):
            fit(tmp_path / "cut", config, config.base, phantoms, [])
    assert steps(tmp_path / "cut") == [3]
    assert not (tmp_path / "cut" / DONE).exists()
    resumed = fit(tmp_path / "cut", config, config.base, phantoms, [])
    assert steps(tmp_path / "cut")[-1] == 6
    assert json.loads((tmp_path / "cut" / DONE).read_text())["steps"] == 6
    for name, value in straight.items():
        torch.testing.assert_close(resumed[name], value)


def test_a_finished_fit_is_read_and_not_trained_again(config, tmp_path):
    phantoms = cached_phantoms(config)
    short = replace(config.base, max_steps=3)
    first = fit(tmp_path, config, short, phantoms, [])
    written = (tmp_path / LAST).stat().st_mtime_ns
    second = fit(tmp_path, config, short, phantoms, [])
    assert (tmp_path / LAST).stat().st_mtime_ns == written
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_fit_stops_when_its_time_is_up(config, tmp_path):
    fit(tmp_path, config, replace(config.base, max_minutes=1e-6), cached_phantoms(config), [])
    assert json.loads((tmp_path / DONE).read_text())["steps"] < config.base.max_steps


def test_a_fine_tuning_starts_from_the_weights_it_is_given(config, tmp_path):
    phantoms = cached_phantoms(config)
    network = build_network(config.plan.plan())
    start = {name: torch.full_like(value, 0.25) for name, value in network.state_dict().items()}
    nearly_still = replace(config.base, max_steps=1, learning_rate=1e-9)
    for name, value in fit(tmp_path, config, nearly_still, phantoms, [], start).items():
        torch.testing.assert_close(value, start[name], msg=name, rtol=0, atol=1e-6)


def test_every_stage_from_phantoms_to_a_model_that_gives_the_same_logits(folder):
    from flareseg.model.bundle import load_bundle

    output = folder / "model"
    arguments = ["--config", str(SMOKE), f"runs={folder}", f"output={output}"]
    assert main(["all", *arguments]) == 0
    bundle = load_bundle(output)
    assert bundle.plan.coarse is not None
    assert bundle.coarse_weights is not None
    coarse = ("coarse", bundle.plan.coarse, bundle.coarse_weights)
    for net, plan, weights in (("main", bundle.plan, bundle.weights), coarse):
        exported, trained = build_network(plan).eval(), build_network(plan).eval()
        load_weights(exported, weights)
        trained.load_state_dict(averaged_weights(folder / net / "base"))
        image = torch.randn(1, 1, 16, 16, 16)
        with torch.inference_mode():
            torch.testing.assert_close(exported(image), trained(image), rtol=0.02, atol=0.02)  # weights are fp16
    card = (output / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "not a\nmedical device" in card
    assert "base" in card
    scores = json.loads((folder / "evaluation.json").read_text())
    assert {row["case"] for row in scores} == {"phantom_1000000"}
    assert all(0 <= row["dsc"] <= 1 and 0 <= row["nsd"] <= 1 for row in scores)


def test_a_data_folder_without_cases_is_one_line_and_exit_status_1(folder, capsys):
    assert main(["phantoms", "--config", str(SMOKE), f"runs={folder}", f"data={folder / 'nothing'}"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
