"""The stages' costs measured on a CT so small that it takes seconds, and what becomes of the measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_costs as costs
import training_costs_page
import training_costs_side as side
from training_costs_data import HELD_OUT, UNSEARCHED, write_cases

from flareseg.volume import Geometry, Volume
from train.planning.rates import read_rates

SHAPE, SPACING = (72, 96, 96), (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the stages of a small CT gave, in order."""
    work = tmp_path_factory.mktemp("costs")
    _, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    hu = np.where(np.hypot(y - 48, x - 48) < 40, 40, -1000)
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:40, 30:60, 20:50], labels[20:30, 40:50, 30:40], labels[20:50, 40:60, 60:75] = 1, 14, 3
    hu = hu + 20 * labels + np.random.default_rng(0).integers(-9, 10, SHAPE)
    volume = Volume(hu.astype(np.int16), Geometry(SHAPE, SPACING))
    for name in ("warm", "small"):
        write_cases(work / name, volume, labels, SHAPE[0])
    order = {"folder": str(work / "small"), "warm": str(work / "warm")}
    found = {stage: side.stage(order | {"stage": stage}) for stage in costs.STAGES}
    found["load"] = side.load(order | {"fit": "final", "count": 1})
    found["folder"] = {"path": str(work / "small")}
    return found


@pytest.mark.slow
def test_every_stage_is_measured_on_what_the_stages_before_it_left(answers: dict[str, dict[str, Any]]) -> None:
    for stage in costs.STAGES:
        answer = answers[stage] | {"peak_resident_bytes": 1}
        one = costs.of_a_case(stage, answer)
        assert one["cpu_s"] > 0 and one["wall_s"] > 0
        files = [name for sizes in answer["written_bytes"].values() for name in sizes]
        assert any(HELD_OUT in name or UNSEARCHED in name for name in files), f"{stage} wrote nothing of its case"
    assert answers["load"]["read_bytes"] > 0 or not answers["load"].get("reads")


@pytest.mark.slow
def test_what_stands_in_for_the_nets_draws_the_labels(answers: dict[str, dict[str, Any]]) -> None:
    folder = Path(answers["folder"]["path"]) / "run"
    scores = json.loads((folder / "scores" / "scores.json").read_text(encoding="utf-8"))
    assert {row["structure"] for row in scores} == {"liver", "spleen", "tumour"}
    assert min(row["dsc"] for row in scores) > 0.9
    found = json.loads((folder / "pseudo" / "tumour" / "flare23_unsearched.json").read_text(encoding="utf-8"))
    assert [tumour["ml"] for tumour in found["tumours"]] == [pytest.approx(27.0, rel=0.1)]


def test_a_case_costs_no_start_and_no_stand_in() -> None:
    answer = {"cpu_s": 10.0, "wall_s": 30.0, "start_cpu_s": 2.0, "stand_in_cpu_s": 3.0, "peak_resident_bytes": 2**30}
    answer |= {"read_bytes": 4_000_000, "write_bytes": 2_000_000}
    one = costs.of_a_case("evaluate", answer | {"stages_cpu_s": {"labels": 1.5, "network": 0.5, "body": 9.0}})
    assert (one["cpu_s"], one["moved_to_gpu_cpu_s"], one["read_mb"], one["peak_gib"]) == (5.0, 2.0, 4.0, 1.0)
    assert costs.of_a_case("prepare", answer)["wall_s"] == 15.0, "two CTs are prepared"
    assert costs.medians([{"a": 1.0}, {"a": 9.0}, {"a": 2.0}]) == {"a": 2.0}


def test_what_is_measured_already_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> dict[str, Any]:
        raise RuntimeError("measured again")

    monkeypatch.setattr(costs, "run_fresh", lambda *_: {"cpu_s": 1.0})
    taken = costs.Measurements(tmp_path, 1)
    assert taken.take("fuse_133", 0, {}) == {"cpu_s": 1.0}
    monkeypatch.setattr(costs, "run_fresh", refuse)
    assert costs.Measurements(tmp_path, 1).take("fuse_133", 0, {}) == {"cpu_s": 1.0}
    with pytest.raises(RuntimeError, match="measured again"):
        taken.take("fuse_133", 1, {})
    assert costs.Measurements(tmp_path, None).take("fuse_133", 1, {}) is None, "a report measures nothing"


def test_the_results_that_are_committed_give_their_text_and_rates() -> None:
    data = json.loads((costs.RESULTS / "training_costs.json").read_text(encoding="utf-8"))
    assert (costs.RESULTS / "training_costs.md").read_text(encoding="utf-8") == costs.text_of(data) + "\n"
    rates = read_rates(costs.RESULTS / "training_costs.json")
    assert set(rates.patches) == set(costs.FITS) and 0 < rates.body_share < 1


def test_the_page_shows_what_its_commands_print() -> None:
    text = training_costs_page.PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- end of the output -->") == text.count("python -m train costs --config train/") >= 3
    assert training_costs_page.page(text) == text, "make benchmark-page makes it anew"
