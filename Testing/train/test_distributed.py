"""Ranks and shards divide the work without loss, have a device each, and wait for no one who is dead."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from flareseg.errors import OutputError, UsageError
from train.common import barrier
from train.common.barrier import Barrier
from train.common.devices import device_of_rank, take_own_device
from train.common.distributed import ALONE, Rank, rank_here, shard_named, shard_of_array, this_rank

ROOT = Path(__file__).parents[2]
TORCHRUN = {"RANK": "11", "WORLD_SIZE": "16", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8"}
SRUN = {
    "SLURM_PROCID": "11", "SLURM_NTASKS": "16", "SLURM_LOCALID": "3", "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
}  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_all_shares_together_are_all_cases_each_once(count):
    cases = list(range(21))
    shares = [Rank(number, count).share(cases) for number in range(count)]
    assert sorted(case for share in shares for case in share) == cases
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_ranks_of_shards_divide_all_cases_too():
    cases = list(range(21))
    places = [Rank(rank, 4).within(Rank(shard, 3)) for shard in range(3) for rank in range(4)]
    assert sorted(case for place in places for case in place.share(cases)) == cases


@pytest.mark.parametrize(
    ("environment", "together", "here"),
    [
        ({}, ALONE, ALONE),
        (TORCHRUN, Rank(11, 16), Rank(3, 8)),
        (SRUN, Rank(11, 16), Rank(3, 8)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Rank(1, 2), Rank(1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"}, ALONE, ALONE),
        ({"RANK": "9", "WORLD_SIZE": "8"}, ALONE, ALONE),
        ({"RANK": "x", "WORLD_SIZE": ""}, ALONE, ALONE),
    ],
)
def test_torchrun_and_slurm_say_who_we_are(environment, together, here):
    assert this_rank(environment) == together
    assert rank_here(environment) == here


def array(number, count, first="0", step="1"):
    names = ("ID", "COUNT", "MIN", "STEP")
    return {f"SLURM_ARRAY_TASK_{name}": text for name, text in zip(names, (number, count, first, step), strict=True)}


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, ALONE),
        (array("5", "4", "3"), Rank(2, 4)),
        (array("6", "4", "0", "2"), Rank(3, 4)),
        (array("7", "1", "7"), ALONE),
        (array("x", "4"), ALONE),
        (array("2", "4", "x", "0"), Rank(2, 4)),
    ],
)
def test_a_slurm_array_says_which_share(environment, share):
    assert shard_of_array(environment) == share


def test_an_array_of_tasks_that_are_started_again_has_to_say_it():
    with pytest.raises(UsageError, match=r"have gaps.*task 17.*--shard 3/32"):
        shard_of_array(array("17", "2", "5"))


def test_a_share_is_named_from_one():
    assert shard_named("3/32") == Rank(2, 32) and str(shard_named("3/32")) == "3/32"
    for text in ("0/3", "4/3", "3", "a/b", "", "-1/3", "1/0", "1.5/2", "٣/٤x", "1/2/3"):
        with pytest.raises(UsageError, match="is no share"):
            shard_named(text)


# devices


@pytest.fixture
def gpus(monkeypatch):
    """A machine with so many."""

    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize("environment", [TORCHRUN, SRUN])
@pytest.mark.parametrize(
    ("count", "wanted", "taken"),
    [
        (8, "auto", "cuda:3"),
        (8, "cuda", "cuda:3"),
        (1, "auto", "cuda:0"),  # as with --gpus-per-task
        (2, "auto", "cuda:1"),
        (8, "cuda:5", "cuda:5"),
        (8, "cpu", "cpu"),
        (0, "auto", "auto"),
    ],
)
def test_each_rank_has_its_own_device(gpus, environment, count, wanted, taken):
    gpus(count)
    assert device_of_rank(wanted, environment) == taken


def test_alone_the_device_is_what_it_always_was(gpus):
    gpus(8)
    assert device_of_rank("auto", {}) == "auto" and device_of_rank("cuda", {"WORLD_SIZE": "1", "RANK": "0"}) == "cuda"


def test_what_says_cuda_without_a_number_means_the_own_one(gpus, monkeypatch):
    taken = []
    gpus(8)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    take_own_device()
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    take_own_device()
    assert taken == ["cuda:3"]


# waiting


def test_ranks_wait_for_the_one_that_leads(tmp_path):
    environment = {"SLURM_JOB_ID": "7"}
    heard = []

    def main_only():
        time.sleep(0.3)
        heard.append("work")

    def run(number):
        Barrier(Rank(number, 3), tmp_path, environment).main_only("stage", main_only)
        heard.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert heard[0] == "work"
    assert sorted(heard[1:]) == [0, 1, 2]


def test_a_rank_alone_waits_for_nobody(tmp_path):
    done = []
    Barrier(Rank(), tmp_path).main_only("stage", lambda: done.append(1))
    assert done == [1]
    assert not list(tmp_path.iterdir())


def test_a_torchrun_without_a_port_is_told(tmp_path):
    environment = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    with pytest.raises(UsageError, match="--standalone"):
        Barrier(Rank(0, 2), tmp_path, environment)


@pytest.mark.parametrize("silent_s", [0, 700])
def test_nobody_waits_for_a_rank_that_ended_or_is_not_heard_of(tmp_path, monkeypatch, silent_s):
    monkeypatch.setattr(barrier, "_LOOK_S", 0.0)
    waiting = Barrier(Rank(0, 2), tmp_path, {"SLURM_JOB_ID": "7"})
    [folder] = (tmp_path / ".ranks").iterdir()
    now = time.time()
    (folder / "alive.1").touch()
    os.utime(folder / "alive.1", (now - silent_s, now - silent_s))
    if not silent_s:
        (folder / "ended.1").touch()
    with pytest.raises(OutputError, match="Process 2 of 2 ended or was lost before it came to 'prepare'"):
        waiting.wait("prepare")


def test_a_rank_that_has_come_and_ended_well_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(barrier, "_LOOK_S", 0.0)
    first = Barrier(Rank(0, 2), tmp_path, {"SLURM_JOB_ID": "7"})
    [folder] = (tmp_path / ".ranks").iterdir()
    (folder / "ended.1").touch()
    (folder / "1.prepare.1").touch()
    first.wait("prepare")


def test_ranks_end_with_a_torchrun_that_is_killed():
    rank = (
        "import time; from pathlib import Path; from train.common import barrier; barrier._LOOK_S = 0.1;"
        "known = {'TORCHELASTIC_RUN_ID': 'x', 'MASTER_PORT': '1'};"
        "barrier.Barrier(barrier.Rank(0, 2), Path(), known); print('begun', flush=True); time.sleep(600)"
    )
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {rank!r}])"
    path = os.pathsep.join([str(ROOT), str(ROOT / "FlarePanCancer")])
    with subprocess.Popen(
        [sys.executable, "-c", launcher], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "begun\n"
        parent.kill()
        assert parent.communicate(timeout=120)[0] == ""  # closes when the last process that could write has ended
