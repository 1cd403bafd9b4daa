"""Worker processes: how they start and end, and a parallel map over them with progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.context import BaseContext
from threading import Thread
from typing import TypeVar

from flareseg.errors import OutputError

Item = TypeVar("Item")
Result = TypeVar("Result")
PROGRESS_EVERY_S = 20.0
_PRELOADED = ["torch", "scipy.ndimage", "train.augmentation.dataset"]


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], processes: int, stage: str) -> Iterator[Result]:
    """`work(item)` for every item, in the items' order; work and items must be picklable where there are processes.

    Raises:
        OutputError: when a worker process was killed.
    """
    if processes < 2 or len(items) < 2:
        yield from map(work, items)
        return
    try:
        count, context = min(processes, len(items)), worker_context()
        with ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker) as pool:
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


def worker_context() -> BaseContext:
    """How worker processes are started; never by forking this one, which may hang once torch has computed in threads.

    On Linux, a server process imports torch, computes nothing, and is forked for every worker. They share its memory
    and start at once, where each spawned one imports it all for itself.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def end_with_parent() -> None:
    """Let this worker process end with the one that started it, however that ends.

    A parent that is killed cannot end its workers, and they would work on what they were given, then wait for ever.
    """
    if parent_process():
        Thread(target=_wait_for_parent, daemon=True).start()


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
    """One thread for each process."""
    import torch

    torch.set_num_threads(1)
    end_with_parent()


def _wait_for_parent() -> None:
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)
