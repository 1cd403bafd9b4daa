"""The engine as a child process: started, read from, and ended with all processes it has started."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from FlarePanCancerLib.dependencies import find_python_slicer
from FlarePanCancerLib.events import Event, one_line, parse_event
from FlarePanCancerLib.mrml_conversion import read_result
from FlarePanCancerLib.process_tree import ProcessTree
from flareseg.progress import DONE, ERROR, PREVIEW, PROGRESS

ENGINE_FOLDER = Path(__file__).resolve().parents[1]
"""Where `flareseg` lies; the process finds it there and nowhere else."""
ASK_S, END_S = 1.2, 0.5
"""After a cancel the engine has so long to end by itself; then the whole process tree is killed."""
LOG_LINES, LONGEST_LOGGED = 500, 300
LONGEST_LINE = 2**22
"""Bytes: a result with ten thousand lesions needs that."""
EVENTS_AT_ONCE, MOST_WAITING = 50, 200
LINES_AT_ONCE, PAUSE_S = 500, 0.02
"""After so many lines the thread that reads them pauses: a flood may slow the engine down, never the window."""
AFTER_END_S, SILENT_S, LATEST_S = 1.0, 0.2, 30.0
"""A process that the engine has started may hold its pipes open when it has ended. It is killed after the first time;
what it then still says is waited for until it is silent for the second, and at most for the third."""
AFTER_END_BYTES = 2**21
"""More than a pipe holds: what comes after that is not the engine's."""
YIELD_S = 0.002
"""Slicer's event loop keeps Python's lock while no Python runs; the threads that read and write get it here."""


class EngineProcess:
    """`flareseg` with JSON progress. Two threads read its output, so the main thread never waits for it.

    Example:
        process = EngineProcess(["segment", "ct.nrrd", "-o", "out.nrrd", "--progress", "json"])
        process.start()
        while process.running:
            for event in process.events():
                print(event)

    Args:
        arguments: of the command line, which must make it print one JSON object a line.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._events: queue.Queue[Event] = queue.Queue(MOST_WAITING)
        self._tree: ProcessTree | None = None
        self._readers: list[threading.Thread] = []
        self._cancelled = False
        self._over = False
        self._ended_at: float | None = None
        self._silent_since: float | None = None
        self.log: deque[str] = deque(maxlen=LOG_LINES)

    @property
    def running(self) -> bool:
        """Whether it is running, or has events that have not been delivered yet."""
        if self._tree is not None and not self._over and self._tree.status is not None:
            self._over = self._events.empty() and self._has_said_all(self._tree)
        return self._tree is not None and not self._over

    @property
    def status(self) -> int | None:
        """The exit status; None before the end."""
        return None if self._tree is None else self._tree.status

    @property
    def pid(self) -> int | None:
        return None if self._tree is None else self._tree.pid

    def start(self) -> None:
        """Begin.

        Raises:
            OSError: when there is no Python to start.
        """
        command = [find_python_slicer() or sys.executable, "-m", "flareseg", *self._arguments]
        self._tree = ProcessTree(command, environment(os.environ))
        self._readers = [
            threading.Thread(target=work, args=(self._tree,), daemon=True, name=f"flareseg {kind}")
            for kind, work in (("events", self._read_events), ("log", self._read_log))
        ]
        for reader in self._readers:
            reader.start()

    def why_it_failed(self) -> str:
        """Of a process that has ended without an answer: one sentence; "" where it ended as if all were well."""
        lines = [line for line in self.log if line.strip()]
        if self.status and len(lines) == 1:
            return lines[0].removeprefix("flareseg: ")
        return _CRASHED.format(status=self.status) if self.status else ""

    def events(self) -> list[Event]:
        """What it has said since the last call, but not more than `EVENTS_AT_ONCE`; see `events.py`. Label maps come
        loaded, as "labels" of their event."""
        let_threads_work()
        found: list[Event] = []
        while len(found) < EVENTS_AT_ONCE:
            try:
                found.append(self._events.get_nowait())
            except queue.Empty:
                break
        return found

    def cancel(self) -> None:
        """End it: ask first, kill the whole tree if it does not listen. Returns at once."""
        if self._tree is None or self._cancelled:
            return
        self._cancelled = True
        threading.Thread(target=self._end, args=(self._tree,), daemon=True, name="flareseg end").start()

    def kill(self) -> None:
        """End it and everything it has started, at once; for when Slicer itself ends."""
        if self._tree is None:
            return
        self._cancelled = True
        self._tree.kill()
        self._tree.wait(END_S)

    def _has_said_all(self, tree: ProcessTree) -> bool:
        """Of a process that has ended: whether nothing of its own can still come."""
        now = time.monotonic()
        if self._ended_at is None:
            self._ended_at = now
        since = now - self._ended_at
        if any(reader.is_alive() for reader in self._readers):
            if since < AFTER_END_S:
                return False
            tree.kill()
            silent = self._silent_since is not None and now - self._silent_since > SILENT_S
            return since > AFTER_END_S + SILENT_S and (silent or since > LATEST_S)
        tree.kill()
        return True

    @staticmethod
    def _end(tree: ProcessTree) -> None:
        tree.ask_to_end()
        tree.wait(ASK_S)
        tree.kill()

    def _read_events(self, tree: ProcessTree) -> None:
        for line in self._lines(tree, tree.output, self._heard_silence):
            event = parse_event(line)
            if event is None:
                self._log(line)
            else:
                self._put(self._with_labels(event))

    def _heard_silence(self, since: float | None) -> None:
        self._silent_since = since

    def _put(self, event: Event) -> None:
        """Hand an event over; where too many wait, how far it is is not worth waiting for."""
        while not self._over:
            try:
                self._events.put(event, timeout=0.1)
                return
            except queue.Full:
                if "fraction" in event or self._cancelled:
                    return

    def _with_labels(self, event: Event) -> Event:
        """Load the file named in the event, here in the background thread."""
        if event["event"] not in (PREVIEW, DONE) or "model" in event or self._cancelled:
            return event  # an installed model comes without a label map
        try:
            return event | {"labels": read_result(Path(event["output"]))}
        except Exception as error:
            # a preview that fails is no reason to do without the result
            kind, what = (ERROR, "result") if event["event"] == DONE else (PROGRESS, "preview")
            return event | {"event": kind, "message": one_line(f"The {what} cannot be read: {error}")}

    def _read_log(self, tree: ProcessTree) -> None:
        for line in self._lines(tree, tree.errors):
            self._log(line)

    def _log(self, line: bytes) -> None:
        self.log.append(one_line(line[: 4 * LONGEST_LOGGED].decode("utf-8", "replace"))[:LONGEST_LOGGED])

    def _lines(
        self, tree: ProcessTree, pipe: IO[bytes], silent: Callable[[float | None], None] = lambda since: None
    ) -> Iterator[bytes]:
        """Every line, cut to `LONGEST_LINE`; `silent` hears since when one is waited for, None while one is there."""
        lines = after_end = 0
        whole = True
        while not self._over and after_end <= AFTER_END_BYTES:
            silent(time.monotonic())
            part = pipe.readline(LONGEST_LINE)
            if not part:
                return
            silent(None)
            if tree.status is not None:
                after_end += len(part)
            if whole:  # else it is the rest of a line that is too long
                yield part
            whole = part.endswith(b"\n")
            lines += 1
            if lines % LINES_AT_ONCE == 0 or not whole:
                time.sleep(PAUSE_S)
        silent(time.monotonic())  # nothing more is listened to


def let_threads_work() -> None:
    """Give Python's lock to the threads that wait for it, for a moment."""
    time.sleep(YIELD_S)


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Of the process: as Slicer's own, with the engine first on the path and text in UTF-8 everywhere."""
    path = [str(ENGINE_FOLDER), *filter(None, [own.get("PYTHONPATH")])]
    return {**own, "PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


_CRASHED = "The engine ended unexpectedly (status {status}), perhaps for want of memory; the details say more."
