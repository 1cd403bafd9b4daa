"""Work in processes comes back in order, and a process that dies is one line."""

import math
import os

import pytest

from flareseg.errors import OutputError
from train.common import parallel
from train.common.parallel import in_parallel, with_progress


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_items(processes):
    assert list(in_parallel(math.factorial, [5, 3, 4, 1], processes, "count")) == [120, 6, 24, 1]


def test_a_process_that_is_killed_is_told_in_one_line():
    with pytest.raises(OutputError, match=r"stage 'count' was killed.*fewer processes: finished cases"):
        list(in_parallel(os._exit, [9, 9, 9], 2, "count"))


def test_an_error_of_the_work_is_that_error():
    with pytest.raises(ValueError, match="factorial"):
        list(in_parallel(math.factorial, [5, -1, 4], 2, "count"))


def test_how_far_it_is_is_told_now_and_then_and_at_the_end(capsys, monkeypatch):
    assert list(with_progress(iter("abc"), 3, "count")) == ["a", "b", "c"]
    assert capsys.readouterr().out == "count: 3 of 3 cases, 0 min left\n"
    monkeypatch.setattr(parallel, "PROGRESS_EVERY_S", -1.0)
    list(with_progress(iter("abc"), 3, "count"))
    assert capsys.readouterr().out.count("\n") == 3
