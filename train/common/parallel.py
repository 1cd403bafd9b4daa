"""Parallel map over worker processes, with progress."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

from flareseg.errors import OutputError

Item = TypeVar("Item")
Result = TypeVar("Result")
PROGRESS_EVERY_S = 20.0


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], processes: int, stage: str) -> Iterator[Result]:
    """`work(item)` for every item, in the items' order; work and items must be picklable where there are processes.

    Raises:
        OutputError: when a worker process was killed.
    """
    if processes < 2 or len(items) < 2:
        yield from map(work, items)
        return
    try:
        # spawned, because forking a process with running torch threads may hang
        spawn = get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(items)), mp_context=spawn, initializer=_begin_worker) as pool:
            try:
                yield from pool.map(work, items)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except BrokenProcessPool:
        raise OutputError(
            f"A process of the stage '{stage}' was killed, perhaps for lack of memory; start again with fewer "
            "processes: finished cases are kept."
        ) from None


def with_progress(results: Iterator[Result], count: int, stage: str) -> Iterator[Result]:
    """Pass the results through, printing the progress now and then."""
    begin = last = time.monotonic()
    for number, result in enumerate(results, 1):
        now = time.monotonic()
        if now - last > PROGRESS_EVERY_S or number == count:
            left = (now - begin) / number * (count - number) / 60
            print(f"{stage}: {number} of {count} cases, {left:.0f} min left", flush=True)
            last = now
        yield result


def _begin_worker() -> None:
    """One thread for each process, and an end with the parent, however that ends.

    A parent that is killed cannot end its workers, and they would work on what they were given, then wait for ever.
    """
    import torch

    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)
