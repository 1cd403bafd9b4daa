"""Ranks divide the work without loss, and wait for each other."""

import threading
import time

import pytest

from flareseg.errors import UsageError
from train.common.distributed import Barrier, Rank, sharing_rank, this_rank


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_all_shares_together_are_all_cases_each_once(count):
    cases = list(range(21))
    shares = [Rank(number, count).share(cases) for number in range(count)]
    assert sorted(case for share in shares for case in share) == cases
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("environment", "together", "sharing"),
    [
        ({}, Rank(0, 1), Rank(0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, Rank(3, 8), Rank(3, 8)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Rank(1, 2), Rank(1, 2)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "3",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "1",
            },
            Rank(0, 1),
            Rank(2, 4),
        ),
        ({"RANK": "9", "WORLD_SIZE": "8"}, Rank(0, 1), Rank(0, 1)),
        ({"RANK": "x", "WORLD_SIZE": ""}, Rank(0, 1), Rank(0, 1)),
    ],
)
def test_torchrun_and_slurm_say_who_we_are(environment, together, sharing):
    assert this_rank(environment) == together
    assert sharing_rank(environment) == sharing


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
