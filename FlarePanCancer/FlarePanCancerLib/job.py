"""One run: CTs written for the engine, its process, and what it says, told to whoever listens.

Nothing here touches the scene or the screen. `poll`, called now and then on the main thread, tells all that happened
since; it never waits.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from FlarePanCancerLib.exchange import Labels, write_ct
from FlarePanCancerLib.process import EngineProcess, Event
from FlarePanCancerLib.request import Request
from flareseg.console import STAGES, title_of
from flareseg.volume import Volume

PREPARING = "Handing over the CT"
STARTING = "Starting"


class Listener(Protocol):
    """Who is told; every method is called on the thread that polls."""

    def progressed(self, fraction: float, text: str, seconds_left: float | None) -> None:
        """How far the whole run is, 0 to 1, and what is done now."""

    def said(self, text: str) -> None:
        """A sentence for the log."""

    def previewed(self, number: int, labels: Labels) -> None:
        """A first, coarse result of CT `number`, from 0."""

    def segmented(self, number: int, labels: Labels, rows: Sequence[dict[str, Any]]) -> None:
        """The result of CT `number` and its measurements."""

    def failed(self, number: int | None, text: str, details: str) -> None:
        """One sentence on what happened and what to do, and the log; `number` is None where no CT is to blame."""

    def finished(self, cancelled: bool) -> None:
        """Nothing follows."""


class Job:
    """A run over one or many CTs; the model is loaded once.

    Args:
        volumes: the CTs, in memory that stays as it is until their files are written.
        request: how to segment them.
        listener: who is told.
    """

    def __init__(self, volumes: Sequence[Volume], request: Request, listener: Listener) -> None:
        self._volumes, self._request, self._listener = list(volumes), request, listener
        self._folder = Path(tempfile.mkdtemp(prefix="FlarePanCancer-"))
        self._writer = threading.Thread(target=self._write, daemon=True, name="FlarePanCancer write")
        self._write_error: Exception | None = None
        self._process: EngineProcess | None = None
        self._cancelled = False
        self._ended = False
        self._complained = False
        self._began = time.monotonic()
        self._current = 0
        self._stages: dict[str, float] = {}

    @property
    def running(self) -> bool:
        return not self._ended

    @property
    def pid(self) -> int | None:
        """Of the engine's process, once there is one."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        """What the engine printed besides its progress."""
        return "\n".join(self._process.log) if self._process else ""

    def start(self) -> None:
        """Begin; returns at once."""
        self._began = time.monotonic()
        self._listener.progressed(0.0, PREPARING, None)
        self._writer.start()

    def cancel(self) -> None:
        """Stop; returns at once, and `finished` is told when everything has ended."""
        self._cancelled = True
        if self._process:
            self._process.cancel()

    def kill(self) -> None:
        """Stop now, without a word to the listener; for the end of Slicer or of the panel."""
        self._cancelled = self._ended = True
        if self._process:
            self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def poll(self) -> None:
        """Tell the listener what has happened since the last call."""
        if self._ended or self._writer.is_alive():
            return
        if self._process is None:
            self._start_engine()
            return
        for event in self._process.events():
            if not self._cancelled:
                self._tell(event)
        if not self._process.running and not self._ended:
            self._end()

    def _write(self) -> None:
        try:
            (self._folder / "cts").mkdir()
            for number, volume in enumerate(self._volumes):
                if self._cancelled:
                    return
                write_ct(volume, self._ct(number))
        except Exception as error:
            self._write_error = error

    def _start_engine(self) -> None:
        if self._cancelled:
            self._finish()
            return
        self._listener.progressed(0.0, STARTING, None)
        numbers = range(len(self._volumes))
        arguments = self._request.arguments(
            [self._ct(n) for n in numbers], self._folder / "results", self._folder / "p"
        )
        process = EngineProcess(arguments)
        try:
            if self._write_error:
                raise self._write_error
            process.start()
        except Exception as error:
            self._complain(None, f"The segmentation cannot be started: {error}", "")
            self._finish()
            return
        self._process = process
        self._volumes = []  # their memory is the scene's again

    def _tell(self, event: Event) -> None:
        kind, number = event.get("event"), self._number_of(event)
        if number is not None and number != self._current:
            self._current, self._stages = number, {}
        if kind in ("stage", "progress"):
            if "fraction" not in event:
                self._listener.said(str(event.get("message", "")))
                return
            self._stages[str(event["stage"])] = float(event["fraction"])
            self._tell_progress(title_of(str(event["stage"])))
        elif kind == "preview" and number is not None:
            self._listener.previewed(number, event["labels"])
        elif kind == "done" and number is not None:
            Path(event["output"]).unlink(missing_ok=True)
            self._listener.segmented(number, event["labels"], event["measurements"])
        elif kind == "error":
            self._complain(number, str(event.get("message", "")), self.log)

    def _tell_progress(self, text: str) -> None:
        done = sum(STAGES[stage].share * part for stage, part in self._stages.items() if stage in STAGES)
        count = self._count
        fraction = min((self._current + done) / count, 1.0)
        spent = time.monotonic() - self._began
        left = spent * (1 - fraction) / fraction if fraction > 0.05 else None
        which = f"{self._current + 1} of {count}: " if count > 1 else ""
        self._listener.progressed(fraction, which + text, left)

    @property
    def _count(self) -> int:
        return max(len(list((self._folder / "cts").glob("*.nrrd"))), 1)

    def _ct(self, number: int) -> Path:
        return self._folder / "cts" / f"{number:05}.nrrd"

    @staticmethod
    def _number_of(event: Event) -> int | None:
        case = str(event.get("case", ""))
        return int(case) if case.isdigit() else None

    def _complain(self, number: int | None, text: str, details: str) -> None:
        self._complained = True
        self._listener.failed(number, text, details)

    def _end(self) -> None:
        assert self._process
        status = self._process.status
        if status and not self._cancelled and not self._complained:
            lines = [line for line in self._process.log if line.strip()]
            text = lines[-1].removeprefix("flareseg: ") if lines and len(lines) == 1 else _WORDS.format(status=status)
            self._complain(None, text, self.log)
        self._finish()

    def _finish(self) -> None:
        self._ended = True
        shutil.rmtree(self._folder, ignore_errors=True)
        self._listener.finished(self._cancelled)


_WORDS = "The engine ended unexpectedly (status {status}), perhaps for want of memory; the details say more."
