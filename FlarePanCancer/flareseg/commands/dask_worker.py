"""What a worker of a Dask cluster does: a task, with a model that stays loaded."""

from __future__ import annotations

import pickle
import platform
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from flareseg.commands.pipeline import Pipeline, loading
from flareseg.commands.relay import Relay
from flareseg.commands.segment_request import SegmentRequest, model_and_options
from flareseg.commands.task import Task
from flareseg.errors import ModelError
from flareseg.progress import never
from flareseg.reading.reader import CaseReader
from flareseg.system.background import aside

AT_ONCE = 2
"""Tasks in one process, whatever the number of its threads: one is computed, another read or written meanwhile."""

Calls = tuple[tuple[str, tuple[Any, ...]], ...]


def do_task(task: Task, request: SegmentRequest, made_with: dict[str, Any]) -> Calls:
    """Do a task, in a worker.

    Args:
        task: with absolute paths; its files may be replaced.
        request: what the user asked for.
        made_with: what decides results besides the CT, where the command runs; it has to be the same here.

    Returns:
        the calls of the methods of a `Follower` that tell what became of it.
    """
    warm = _warm(pickle.dumps((request, made_with, _threads())))
    with warm.places:
        heard = _Heard()
        Pipeline(request, warm.reader(), never, warm.model).run(_One(task), lambda _: heard)
    return tuple(heard.calls)


class _Warm:
    """What stays from one task to the next."""

    def __init__(self, request: SegmentRequest, made_with: dict[str, Any], threads: int | None) -> None:
        self.places = threading.BoundedSemaphore(AT_ONCE)
        options = replace(request.options, threads=request.options.threads or threads)
        if model_and_options(request) == made_with:
            self.model = loading(replace(request, options=options))
        else:
            self.model = aside(_raise_other_model(request.model), "model")
        self._own, self._debug = threading.local(), request.debug

    def reader(self) -> CaseReader:
        """The one of this thread."""
        if not hasattr(self._own, "reader"):
            self._own.reader = CaseReader(debug=self._debug)
        reader: CaseReader = self._own.reader
        return reader


_lock = threading.Lock()


def _warm(key: bytes) -> _Warm:
    with _lock:
        return _made(key)


@cache
def _made(key: bytes) -> _Warm:
    return _Warm(*pickle.loads(key))


def _threads() -> int | None:
    """The threads that this Dask worker was given, which are the cores that it may use."""
    try:
        from distributed import get_worker

        return int(get_worker().state.nthreads)
    except (ImportError, ValueError):  # in a process that is none
        return None


def _raise_other_model(model: str) -> Callable[[], Any]:
    def raise_it() -> Any:
        raise ModelError(
            f"The Dask worker on {platform.node()} has another model '{model}', or another flareseg, than this "
            "computer; install the same on both."
        )

    return raise_it


class _One:
    """A feed of one task."""

    def __init__(self, task: Task) -> None:
        self._task: Task | None = task

    def next(self) -> Task | None:
        task, self._task = self._task, None
        return task

    def following(self) -> Task | None:
        return None


class _Heard(Relay):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def tell(self, method: str, *arguments: Any) -> None:
        self.calls.append((method, arguments))

    def started(self) -> None:
        """The command has noted that already."""
