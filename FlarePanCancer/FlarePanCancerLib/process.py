"""The engine in a process of its own: started, listened to, and ended with everything it has started."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from FlarePanCancerLib.dependencies import find_python_slicer
from FlarePanCancerLib.exchange import read_result

ENGINE_FOLDER = Path(__file__).resolve().parents[1]
"""Where `flareseg` lies; the process finds it there and nowhere else."""
ASK_S, END_S = 1.2, 0.5
"""After a cancel the engine has so long to end by itself; then the whole process tree is killed."""
LOG_LINES = 2000
Event = dict[str, Any]


class EngineProcess:
    """`flareseg` with JSON progress. Two threads read what it says; nobody ever waits for it on the main thread.

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
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._cancelled = False
        self.log: deque[str] = deque(maxlen=LOG_LINES)

    @property
    def running(self) -> bool:
        """Whether it works, or has said something that nobody has heard yet."""
        if self._process is None:
            return False
        return self._process.poll() is None or any(reader.is_alive() for reader in self._readers) or self._has_events

    @property
    def status(self) -> int | None:
        """The exit status; None before the end."""
        return None if self._process is None else self._process.poll()

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin.

        Raises:
            OSError: when there is no Python to start.
        """
        command = [find_python_slicer() or sys.executable, "-m", "flareseg", *self._arguments]
        own_group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment(os.environ),
            **own_group,
        )
        self._readers = [
            threading.Thread(target=work, daemon=True, name=f"flareseg {kind}")
            for kind, work in (("events", self._read_events), ("log", self._read_log))
        ]
        for reader in self._readers:
            reader.start()

    def events(self) -> list[Event]:
        """What it has said since the last call. Label maps come loaded, as "labels" of their event."""
        found = []
        while True:
            try:
                found.append(self._events.get_nowait())
            except queue.Empty:
                return found

    def cancel(self) -> None:
        """End it: ask first, kill the whole tree if it does not listen. Returns at once."""
        if self._process is None or self._cancelled:
            return
        self._cancelled = True
        threading.Thread(target=self._end, daemon=True, name="flareseg end").start()

    def kill(self) -> None:
        """End it and everything it has started, at once; for when Slicer itself ends."""
        process = self._process
        if process is None:
            return
        self._cancelled = True
        _kill_tree(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)

    @property
    def _has_events(self) -> bool:
        return not self._events.empty()

    def _end(self) -> None:
        process = self._process
        assert process is not None
        if process.poll() is None and sys.platform != "win32":
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(ASK_S)
        _kill_tree(process)

    def _read_events(self) -> None:
        assert self._process and self._process.stdout
        for line in self._process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                self.log.append(line.rstrip())
                continue
            if isinstance(event, dict):
                self._events.put(self._with_labels(event))

    def _with_labels(self, event: Event) -> Event:
        """Loads what the event tells of, here, where it keeps nobody waiting."""
        if event.get("event") not in ("preview", "done") or self._cancelled:
            return event
        try:
            return event | {"labels": read_result(Path(event["output"]))}
        except Exception as error:
            return event | {"event": "error", "message": f"The result cannot be read: {error}"}

    def _read_log(self) -> None:
        assert self._process and self._process.stderr
        for line in self._process.stderr:
            self.log.append(line.rstrip())


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Of the process: as Slicer's own, with the engine first on the path and text in UTF-8 everywhere."""
    path = [str(ENGINE_FOLDER), *filter(None, [own.get("PYTHONPATH")])]
    return {**own, "PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


def _kill_tree(process: subprocess.Popen[str]) -> None:
    """End a process and all that it has started, on every system."""
    if sys.platform == "win32":
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False, creationflags=subprocess.CREATE_NO_WINDOW)
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
