"""Work in processes comes back in order, and a process that dies is one line."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flareseg.errors import OutputError
from train.common import parallel
from train.common.parallel import in_parallel, with_progress

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_items(processes):
    assert list(in_parallel(math.factorial, [5, 3, 4, 1], processes, "count")) == [120, 6, 24, 1]


def test_a_process_that_is_killed_is_told_in_one_line():
    with pytest.raises(OutputError, match=r"stage 'count' was killed.*fewer processes: finished cases"):
        list(in_parallel(os._exit, [9, 9, 9], 2, "count"))


def test_workers_end_with_a_parent_that_is_killed():
    work = "print('begun', flush=True); __import__('time').sleep(600)"
    call = f"list(in_parallel(exec, {[work] * 3}, 2, 'work'))"
    script = f"from train.common.parallel import in_parallel\nif __name__ == '__main__': {call}"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        parent.kill()
        # the pipe closes when the last process that could write to it has ended
        assert parent.communicate(timeout=120)[0] == ""


def test_an_error_of_the_work_is_that_error():
    with pytest.raises(ValueError, match="factorial"):
        list(in_parallel(math.factorial, [5, -1, 4], 2, "count"))


def test_how_far_it_is_is_told_now_and_then_and_at_the_end(capsys, monkeypatch):
    assert list(with_progress(iter("abc"), 3, "count")) == ["a", "b", "c"]
    assert capsys.readouterr().out == "count: 3 of 3 cases, 0 min left\n"
    monkeypatch.setattr(parallel, "PROGRESS_EVERY_S", -1.0)
    list(with_progress(iter("abc"), 3, "count"))
    assert capsys.readouterr().out.count("\n") == 3
