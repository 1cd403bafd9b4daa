"""Work that goes on in a thread beside the main one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

from flareseg.errors import Cancelled

Result = TypeVar("Result")
LOOK_EVERY_S = 0.05


def aside(work: Callable[[], Result], name: str) -> Future[Result]:
    """Begin `work` in a thread; where none is to be had, do it now. Python does not end before it has ended."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name=f"flareseg {name}", daemon=False).start()
    except RuntimeError:  # as with a small `ulimit -v`
        run()
    return future


def result_of(future: Future[Result], cancelled: Callable[[], bool]) -> Result:
    """What the work returns, or the exception that it raises.

    Raises:
        Cancelled: when `cancelled` says so before it has ended.
    """
    while True:
        if cancelled():
            raise Cancelled
        try:
            return future.result(LOOK_EVERY_S)
        except NotYet:
            if future.done():  # an exception of its own, of that kind
                raise
