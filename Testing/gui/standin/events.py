"""Turning the event loop in a test, with a watch on how long it stood still; and pictures of widgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6 import QtCore, QtWidgets

_TICK_MS = 5


@dataclass(frozen=True)
class Waited:
    """How a wait ended."""

    done: bool
    seconds: float
    longest_block_s: float  # between two ticks of a timer of 5 ms: what a user feels as a frozen window

    def __bool__(self) -> bool:
        return self.done


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> Waited:
    """Turns the event loop until the condition holds, or the time is over.

    The condition is asked outside the ticks, so that its own cost counts as the window's: keep it cheap.
    """
    start = last = time.perf_counter()
    longest = 0.0

    def tick() -> None:
        nonlocal last, longest
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        if condition() or now - start > timeout_s:
            loop.quit()

    loop = QtCore.QEventLoop()
    timer = QtCore.QTimer()
    timer.setTimerType(QtCore.Qt.PreciseTimer)
    timer.setInterval(_TICK_MS)
    timer.timeout.connect(tick)
    timer.start()
    loop.exec()
    timer.stop()
    return Waited(bool(condition()), time.perf_counter() - start, longest)


def spin(seconds: float) -> Waited:
    """Turns the event loop for that long."""
    end = time.perf_counter() + seconds
    return wait_until(lambda: time.perf_counter() >= end, seconds + 1)


def screenshot(widget: QtWidgets.QWidget, path: Path) -> Path:
    """Saves what the widget looks like; it need not be on a screen."""
    widget.ensurePolished()
    QtWidgets.QApplication.processEvents()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not widget.grab().save(str(path)):
        raise OSError(f"{path} cannot be written")
    return path
