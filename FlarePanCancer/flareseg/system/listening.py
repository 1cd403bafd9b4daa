"""Whether the program that started us with `--progress json`, and reads what we say, is still there."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable

import psutil

from flareseg.system.interrupt import PARENT


def listener_left() -> Callable[[], bool]:
    """A question to ask now and then: has the listener gone?

    It has when nobody can read our standard output any more, or when the process that started us has ended. The
    second does not count for a command that was started to outlive its shell, by nohup.
    """
    outlives = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    watched = None if outlives else _parent()

    def gone() -> bool:
        return _pipe_is_broken() or (watched is not None and not _is_still_parent(watched))

    return gone


def _parent() -> psutil.Process | int | None:
    """None for the system's own first process, to which orphans go, and where the parent is unknown."""
    if sys.platform != "win32":
        return PARENT if PARENT > 1 else None
    try:
        return psutil.Process().parent()
    except psutil.Error:
        return None


def _is_still_parent(parent: psutil.Process | int) -> bool:
    if isinstance(parent, int):  # an orphan gets another parent
        return os.getppid() == parent
    return bool(parent.is_running())


def _pipe_is_broken() -> bool:
    if sys.platform == "win32":  # the next thing that we say fails there
        return False
    try:
        output = sys.stdout.fileno()
        asked = select.poll()
        asked.register(output, 0)
        return any(event & (select.POLLERR | select.POLLNVAL) for _, event in asked.poll(0))
    except (AttributeError, OSError, ValueError):
        return False
