"""Several cases at work at once, reported to one listener as if one came after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flareseg.commands.console import CaseListener
    from flareseg.results.measure import Measurement


class InTurn:
    """Keeps what a later case reports until the earlier ones are done or have failed.

    A program that follows the events, such as Slicer's panel, gets all of one case, then all of the next.
    """

    def __init__(self, listener: CaseListener) -> None:
        self.listener = listener
        self._voices: deque[Voice] = deque()
        self._lock = threading.RLock()

    def begin(self, case: str) -> Voice:
        """The voice of the next case; it ends with `done`, `error` or `left`."""
        voice = Voice(self)
        with self._lock:
            self._voices.append(voice)
            self.report(voice, lambda: self.listener.begin(case))
        return voice

    def note(self, event: Callable[[], Any]) -> None:
        """Report something that belongs to no case, when it is its turn."""
        voice = Voice(self)
        with self._lock:
            self._voices.append(voice)
            self.report(voice, event, last=True)

    def report(self, voice: Voice, event: Callable[[], Any], *, last: bool = False) -> None:
        """Report an event of a case, now or when its turn comes; after the `last` one it is the next case's turn."""
        with self._lock:
            voice.held.append(event)
            voice.ended = voice.ended or last
            while self._voices:
                first = self._voices[0]
                while first.held:
                    first.held.popleft()()
                if not first.ended:
                    return
                self._voices.popleft()


class AtTheirEnd:
    """Keeps what a case reports until it is done or has failed, and reports all of it then; for many cases at once."""

    def __init__(self, listener: CaseListener) -> None:
        self.listener = listener
        self._lock = threading.RLock()

    def begin(self, case: str) -> Voice:
        """The voice of a case; it ends with `done`, `error` or `left`."""
        voice = Voice(self)
        voice.held.append(lambda: self.listener.begin(case))
        return voice

    def note(self, event: Callable[[], Any]) -> None:
        """Report something that belongs to no case."""
        with self._lock:
            event()

    def report(self, voice: Voice, event: Callable[[], Any], *, last: bool = False) -> None:
        """Keep an event of a case; after the `last` one report all."""
        with self._lock:
            voice.held.append(event)
            while last and voice.held:
                voice.held.popleft()()


class Voice:
    """The listener of one case."""

    def __init__(self, turns: InTurn | AtTheirEnd) -> None:
        self._turns = turns
        self.held: deque[Callable[[], Any]] = deque()
        self.ended = False

    def stage(self, name: str, fraction: float) -> None:
        self._turns.report(self, lambda: self._turns.listener.stage(name, fraction))

    def message(self, text: str) -> None:
        self._turns.report(self, lambda: self._turns.listener.message(text))

    def preview(self, output: str) -> None:
        self._turns.report(self, lambda: self._turns.listener.preview(output))

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        self._turns.report(self, lambda: self._turns.listener.done(output, rows), last=True)

    def error(self, text: str) -> None:
        self._turns.report(self, lambda: self._turns.listener.error(text), last=True)

    def left(self, text: str) -> None:
        self._turns.report(self, lambda: self._turns.listener.message(text), last=True)
