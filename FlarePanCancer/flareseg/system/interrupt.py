"""How a command ends before its time: at Ctrl+C, at SIGTERM, or when the program that listens to it has gone.

Loads nothing but Python's own small modules, because it must be at work before anything else is imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # typing would be the slowest import here
if TYPE_CHECKING:
    from typing import Any, NoReturn

STATUS, CANCELLED = 130, "flareseg: Cancelled; no partial file was left."
"""As of `flareseg.errors.Cancelled`."""
PARENT = os.getppid()
"""Who started this process, noted as early as can be."""
STOP_WITHIN_S = 0.7
"""Work that was asked to stop may take so long; then it is abandoned with the process."""
LOOK_EVERY_S = 0.05
LOOKS_PER_WATCH = 10

_cleanups: dict[object, Callable[[], Any]] = {}


class _Guard:
    """The one piece of work that signals go to."""

    def __init__(self, owns_process: bool) -> None:
        self.stop = threading.Event()
        self.owns_process = owns_process
        self.gone: Callable[[], bool] | None = None


_guard: _Guard | None = None


def _signals() -> list[signal.Signals]:
    """Those that ask a program to end. A hang-up counts only where nobody chose to outlive it, as nohup does."""
    names = ["SIGINT", "SIGTERM", "SIGBREAK"]
    found = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) not in (signal.SIG_IGN, None):
        found.append(signal.SIGHUP)
    return found


def catch_early() -> None:
    """From now on a signal ends the process with one line; for the start, while nothing has been begun."""
    for number in _signals():
        signal.signal(number, _end_at_once)


def run_until_signal(work: Callable[[Callable[[], bool]], int], *, owns_process: bool = False) -> int:
    """Run `work(cancelled)` so that Ctrl+C and SIGTERM end it within two seconds and leave no partial file.

    The work runs in a thread of its own, because Python handles signals only between two steps of the main thread
    and one import, forward pass or file read can be longer than a user wants to wait. A signal first asks the work to
    stop at its next report; work that does not come to one in time is abandoned with the process.

    Within work that is guarded already, and in a thread that gets no signals, `work` just runs.

    Args:
        work: what to do; its argument tells whether it should stop.
        owns_process: the whole process is this command: signals stay caught after its end too, while Python ends.

    Returns:
        what `work` returned; the process ends with status 130 where it did not stop in time.
    """
    global _guard
    if _guard is not None:
        return work(_guard.stop.is_set)
    if threading.current_thread() is not threading.main_thread():
        return work(lambda: False)
    guard = _Guard(owns_process)
    outcome: list[int] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(work(guard.stop.is_set))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="flareseg", daemon=True)
    before = {number: signal.signal(number, lambda *_: guard.stop.set()) for number in _signals()}
    _guard = guard
    try:
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had, as with a small `ulimit -v`
            return work(guard.stop.is_set)
        _wait(thread, guard)
        if guard.stop.is_set():
            thread.join(STOP_WITHIN_S)
        if thread.is_alive():
            _abandon()
    finally:
        _guard = None
        if not owns_process:
            for number, handler in before.items():
                signal.signal(number, handler)
    if failure:
        raise failure[0]
    return outcome[0]


def _wait(thread: threading.Thread, guard: _Guard) -> None:
    looks = 0
    while thread.is_alive() and not guard.stop.is_set():
        thread.join(LOOK_EVERY_S)
        looks += 1
        if guard.gone and looks % LOOKS_PER_WATCH == 0 and guard.gone():
            guard.stop.set()


def end_when(gone: Callable[[], bool]) -> None:
    """Let the command end, as at Ctrl+C, once `gone()` is true; nothing where the process is not the command's own."""
    if _guard and _guard.owns_process:
        _guard.gone = gone


def leave(status: int) -> None:
    """Exit at the end of the command, when everything is reported: signals are ignored, and background work that is no
    longer needed, such as loading a model for CTs that cannot be read, is not waited for."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        atexit._run_exitfuncs()
        os._exit(status)


@contextmanager
def on_abandon(cleanup: Callable[[], Any]) -> Iterator[None]:
    """While the block runs, `cleanup` is what remains to be done where the process ends in the middle of it."""
    key = object()
    _cleanups[key] = cleanup
    try:
        yield
    finally:
        _cleanups.pop(key, None)


def remove_folder(folder: os.PathLike[str] | str) -> None:
    """Delete a folder into which work that was abandoned may still be writing."""
    import shutil

    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return


def _abandon() -> NoReturn:
    """End the process in the middle of its work, which goes on meanwhile in its thread."""
    if atomic := sys.modules.get("flareseg.io.atomic"):
        atomic.discard_unfinished()
    for cleanup in list(_cleanups.values()):
        with suppress(Exception):
            cleanup()
    from flareseg.system.streams import tell

    tell(CANCELLED)
    os._exit(STATUS)


def _end_at_once(*_: Any) -> NoReturn:
    # Written past Python's stream, which may be in the middle of a line of its own.
    with suppress(OSError):
        os.write(2, f"{CANCELLED}\n".encode())
    os._exit(STATUS)
