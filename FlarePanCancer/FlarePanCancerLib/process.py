"""The engine as a child process: started, read from, and ended with all processes it has started.

Everything here happens on the thread that calls it, and nothing waits: see `pipe_lines.py`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from FlarePanCancerLib.dependencies import find_python_slicer
from FlarePanCancerLib.events import Event, one_line, parse_event
from FlarePanCancerLib.mrml_conversion import read_result
from FlarePanCancerLib.pipe_lines import PipeLines
from FlarePanCancerLib.process_tree import ProcessTree
from FlarePanCancerLib.translation import tr as _
from flareseg.progress import DONE, ERROR, PREVIEW, PROGRESS, STAGE

ENGINE_FOLDER = Path(__file__).resolve().parents[1]
"""Where `flareseg` lies; the process finds it there and nowhere else."""
ASK_S, END_S = 1.2, 0.5
"""After a cancel the engine has so long to end by itself; then the whole process tree is killed."""
LOG_LINES, LONGEST_LOGGED = 500, 300
"""Of one process, in the panel's details and in Slicer's application log."""
LONGEST_LINE = 2**22
"""Bytes: a result with ten thousand lesions needs that."""
AFTER_END_S, SILENT_S = 1.0, 0.2
"""A process that the engine has started may hold its pipes open when it has ended. It is killed after the first time;
one that cannot be found is not listened to after the second."""
AFTER_END_BYTES = 2**21
"""More than a pipe holds: what comes after that is not the engine's."""
LOGGER = logging.getLogger("FlarePanCancer")
"""Slicer puts what is said here into its application log."""


class EngineProcess:
    """`flareseg` with JSON progress.

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
        self._tree: ProcessTree | None = None
        self._output: PipeLines | None = None
        self._errors: PipeLines | None = None
        self._over = False
        self._cancelled_at: float | None = None
        self._ended_at: float | None = None
        self._bytes_at_end = 0
        self._logged = 0
        self.log: deque[str] = deque(maxlen=LOG_LINES)

    @property
    def running(self) -> bool:
        """Whether it is running, or has events that have not been delivered yet."""
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
        self._output = PipeLines(self._tree.output, LONGEST_LINE)
        self._errors = PipeLines(self._tree.errors, 4 * LONGEST_LOGGED)

    def why_it_failed(self) -> str:
        """Of a process that has ended without an answer: one sentence; "" where it ended as if all were well."""
        lines = [line for line in self.log if line.strip()]
        if self.status and len(lines) == 1:
            return lines[0].removeprefix("flareseg: ")
        if not self.status:
            return ""
        words = _("The engine ended unexpectedly (status {status}), perhaps for want of memory; the details say more.")
        return words.format(status=self.status)

    def events(self) -> list[Event]:
        """What it has said since the last call, a bounded part of it at a time; see `events.py`. Label maps come
        loaded, as "labels" of their event; of reports on one stage only the last comes."""
        if self._tree is None or self._over:
            return []
        assert self._output and self._errors
        self._kill_when_due(self._tree)
        has_ended = self._tree.status is not None  # asked first: what it said before is in the pipes then
        found: list[Event] = []
        for event in self._said(self._output):
            if found and _replaces(event, found[-1]):
                found[-1] = event
            else:
                found.append(event)
        for line in self._errors.take():
            self._log(line)
        if has_ended:
            self._finish_when_all_is_said(self._tree, self._output, self._errors)
        return [self._with_labels(event) for event in found]

    def cancel(self) -> None:
        """End it: ask first; where it does not listen, a later call of `events` kills the whole tree. Returns at
        once."""
        if self._tree is None or self._cancelled_at is not None:
            return
        self._cancelled_at = time.monotonic()
        if not self._tree.ask_to_end():
            self._tree.kill()

    def kill(self) -> None:
        """End it and everything it has started, at once; for when Slicer itself ends."""
        if self._tree is None:
            return
        self._tree.kill()
        self._tree.wait(END_S)
        self._stop_listening()

    def _kill_when_due(self, tree: ProcessTree) -> None:
        if self._cancelled_at is not None and time.monotonic() - self._cancelled_at > ASK_S:
            tree.kill()

    def _finish_when_all_is_said(self, tree: ProcessTree, output: PipeLines, errors: PipeLines) -> None:
        """Of a process that has ended: whether nothing of its own can still come."""
        now = time.monotonic()
        if self._ended_at is None:
            self._ended_at, self._bytes_at_end = now, output.bytes + errors.bytes
        since = now - self._ended_at
        if since > AFTER_END_S:
            tree.kill()
        closed = output.ended and errors.ended
        flooded = output.bytes + errors.bytes - self._bytes_at_end > AFTER_END_BYTES
        if (output.is_empty and errors.is_empty and (closed or since > AFTER_END_S + SILENT_S)) or flooded:
            tree.kill()
            self._stop_listening()

    def _stop_listening(self) -> None:
        self._over = True
        for lines in (self._output, self._errors):
            if lines:
                lines.close()

    def _said(self, lines: PipeLines) -> Iterator[Event]:
        for line in lines.take():
            event = parse_event(line)
            if event is None:
                self._log(line)
            else:
                yield event

    def _with_labels(self, event: Event) -> Event:
        """Load the file named in the event."""
        if event["event"] not in (PREVIEW, DONE) or "model" in event or self._cancelled_at is not None:
            return event  # an installed model comes without a label map
        try:
            return event | {"labels": read_result(Path(event["output"]))}
        except Exception as error:
            # a preview that fails is no reason to do without the result
            if event["event"] == DONE:
                kind, words = ERROR, _("The result cannot be read: {error}")
            else:
                kind, words = PROGRESS, _("The preview cannot be read: {error}")
            return event | {"event": kind, "message": one_line(words.format(error=error))}

    def _log(self, line: bytes) -> None:
        text = one_line(line[: 4 * LONGEST_LOGGED].decode("utf-8", "replace"))[:LONGEST_LOGGED]
        self.log.append(text)
        self._logged += 1
        if text and self._logged <= LOG_LINES:
            LOGGER.info("engine: %s", text)


def _replaces(event: Event, before: Event) -> bool:
    """Whether an event says anew how far the stage is of which the one before it spoke."""
    same = all(event.get(key) == before.get(key) for key in ("case", "stage"))
    return same and "fraction" in event and "fraction" in before and {event["event"], before["event"]} <= _HOW_FAR


_HOW_FAR = {STAGE, PROGRESS}


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Of the process: as Slicer's own, with the engine first on the path and text in UTF-8 everywhere."""
    path = [str(ENGINE_FOLDER), *filter(None, [own.get("PYTHONPATH")])]
    return {**own, "PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
