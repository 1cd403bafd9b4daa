"""Two ranks learn what one does, and share the work of every stage; if one dies, the other ends and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from small_fit import SETTINGS, run, small_work
from small_fit_ranks import start_ranks
from small_run import small_run

from flareseg.model.bundle import load_bundle
from train.common.paths import RunPaths
from train.data.index import read_index
from train.training.checkpoints import DONE, LAST, averaged_weights

ROOT = Path(__file__).parents[2]
SHORT = {"epochs": 2, "steps_per_epoch": 6, "optimizer": "sgd", "largest_weight": 10.0}


def finished(folder, **settings):
    """The weights of a fit on two ranks."""
    ranks = start_ranks(folder, 2, **settings)
    for rank in ranks:
        rank.join(timeout=300)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    return averaged_weights(folder, "last")


def grandchildren():
    """Processes below those that this one has started: ranks, and what loads their patches."""
    this = psutil.Process()
    return {one.pid for one in this.children(recursive=True)} - {one.pid for one in this.children()}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Those of a fit that nobody disturbed, with a patch on each rank."""
    return finished(tmp_path_factory.mktemp("ranks") / "whole", batch_size=1, **SHORT)


def test_two_ranks_with_a_patch_each_learn_what_one_with_both_does(of_two, tmp_path):
    alone = tmp_path / "alone"
    torch.set_num_threads(1)
    run(small_work(alone, settings=replace(SETTINGS, batch_size=2, **SHORT)))
    of_one = averaged_weights(alone, "last")
    assert list(of_one) == list(of_two)
    for name, value in of_one.items():  # batches of one and of two may round differently: up to 7e-5
        torch.testing.assert_close(of_two[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_after_kill_9_of_a_rank_the_other_ends_and_the_next_run_goes_on_as_if_nothing_had_happened(of_two, tmp_path):
    folder, before = tmp_path / "killed", grandchildren()
    ranks = start_ranks(folder, 2, batch_size=1, workers=1, **SHORT)
    deadline = time.monotonic() + 300
    while not (folder / LAST).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(ranks[1].pid, signal.SIGKILL)
    for rank in ranks:
        rank.join(timeout=100)
    assert not (folder / DONE).exists(), "the fit was faster than the kill"
    assert ranks[0].exitcode and ranks[1].exitcode == -signal.SIGKILL
    while grandchildren() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not grandchildren() - before, "processes that load patches are left"
    again = finished(folder, batch_size=1, **SHORT)
    assert all(torch.equal(again[name], of_two[name]) for name in again)


@pytest.mark.slow
def test_two_ranks_of_torchrun_share_the_work_of_every_stage(tmp_path):
    small_run(tmp_path)  # for its CTs
    tables = {
        "name": "small", "version": "0", "runs": str(tmp_path / "ranks"), "output": str(tmp_path / "model"),
        "processes": 2, "sources": {"mine": {"layout": "cases", "path": str(tmp_path / "data"), "validation": ["p0"]}},
        "rounds": {"first": {"tumour_fit": "tumor"}}, "pseudo": {"tumour_fit": "next"},
    }  # fmt: skip
    net = {"spacing_zyx_mm": [6.0] * 3, "patch_zyx": [16] * 3, "filters": [4, 8, 8], "step": 1.0}
    given = {"clip_hu": [-200.0, 300.0], "mean_hu": 50.0, "std_hu": 100.0}
    tables["nets"] = {
        "tumor": {**net, **given, "segments": ["tumour"]},
        "final": {**net, "segments": ["liver", "spleen", "tumour"]},
    }
    short = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 1}
    tables["fits"] = {
        "pretrain": {**short, "net": "tumor", "task": "reconstruct", "cases": "all"},
        "tumor": {**short, "net": "tumor", "cases": "tumour", "start": "pretrain"},
        "next": {**short, "net": "final", "stage": "rounds", "round": "first", "cases": "all", "labels": "fused"},
        "final": {**short, "net": "final", "cases": "all", "labels": "fused"},
    }
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump(tables))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    result = subprocess.run(
        [*command, "-m", "train", "all", "--config", str(config)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    paths = RunPaths(tmp_path / "ranks")
    done = json.loads((paths.fit("final") / DONE).read_text())
    assert (done["processes"], done["steps"]) == (2, 2)
    cases = read_index(paths.index).split("train")
    assert len(cases) == 4
    for here in (paths.of_round("first"), paths):
        assert all(here.fused(case.name).exists() for case in cases)
        assert all(f"\n{case.name}," in here.fusion_report.read_text() for case in cases)
    assert {row["case"] for row in json.loads((paths.scores / "scores.json").read_text())} == {"mine_p0"}
    assert list(load_bundle(tmp_path / "model").plan.labels.values()) == ["background", "liver", "spleen", "tumour"]
