"""Whether the program that started us with `--progress json`, and reads what we say, is still there."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable

import psutil


def listener_left() -> Callable[[], bool]:
    """A question to ask now and then: has the listener gone?

    It has when nobody can read our standard output any more, or when the process that started us has ended. The
    second does not count for a command that was started to outlive its shell, by nohup.
    """
    parent = _parent()
    outlives = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    def gone() -> bool:
        return _pipe_is_broken() or (not outlives and parent is not None and not _is_still_parent(parent))

    return gone


def _parent() -> psutil.Process | None:
    """None where it cannot be told, or is the system's own first process, to which orphans go."""
    try:
        parent = psutil.Process().parent()
    except (psutil.Error, OSError):
        return None
    return parent if parent is not None and parent.pid > 1 else None


def _is_still_parent(parent: psutil.Process) -> bool:
    if sys.platform != "win32":  # where an orphan gets another parent
        return os.getppid() == parent.pid
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
