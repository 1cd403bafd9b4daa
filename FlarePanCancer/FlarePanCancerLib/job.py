"""One run: CTs written for the engine, its process, and its events, passed on to a listener.

Nothing here touches the scene or the screen. `poll`, called now and then on the main thread, writes a part of a CT and
reports what happened since, a bounded part of it at a time; it never waits, and there are no threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from FlarePanCancerLib.ct_files import CtFiles
from FlarePanCancerLib.events import Event
from FlarePanCancerLib.mrml_conversion import Labels
from FlarePanCancerLib.process import EngineProcess
from FlarePanCancerLib.run_request import RunRequest
from FlarePanCancerLib.translation import tr as _
from flareseg.errors import OutputError
from flareseg.progress import DONE, ERROR, PREVIEW, PROGRESS, STAGE, share_done, title_of
from flareseg.system.temporary import drop_temporary_folder, make_temporary_folder
from flareseg.volume import Volume

STARTING = "Starting"
MOST_MESSAGES = 300
"""Of the engine in one run; more are left out."""


class JobListener(Protocol):
    """Follows a run over one or many CTs: the engine's events (see `flareseg.progress`) with the CT they are about, how
    far the whole run is, and its end. Every method is called on the thread that polls."""

    def progress(self, fraction: float, text: str, seconds_left: float | None) -> None:
        """How far the whole run is, 0 to 1, and what is done now."""

    def message(self, text: str) -> None:
        """A sentence for the log."""

    def preview(self, number: int, labels: Labels) -> None:
        """A first, coarse result of CT `number`, from 0."""

    def done(self, number: int, labels: Labels, rows: Sequence[dict[str, Any]]) -> None:
        """The result of CT `number` and its measurements."""

    def error(self, number: int | None, text: str, details: str) -> None:
        """One sentence on what happened and what to do, and the log; `number` is None where no CT is to blame."""

    def finished(self, cancelled: bool) -> None:
        """Nothing follows."""


class Job:
    """A run over one or many CTs; the model is loaded once.

    Args:
        volumes: the CTs, in memory that stays as it is until their files are written, one after the other.
        request: how to segment them.
        listener: follows the run.

    Raises:
        OutputError: when no folder for the CTs can be made.
    """

    def __init__(self, volumes: Sequence[Volume], request: RunRequest, listener: JobListener) -> None:
        self._request, self._listener = request, listener
        self._grids = [volume.geometry.shape_zyx for volume in volumes]
        self._answered: set[int] = set()
        self._messages = 0
        self._folder = temporary_folder()
        self._cts = CtFiles(volumes, self._folder)
        self._process: EngineProcess | None = None
        self._cancelled = False
        self._ended = False
        self._doing = ""
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
        """Begin; the engine is started at the first poll."""
        self._began = time.monotonic()
        self._listener.progress(0.0, STARTING, None)

    def cancel(self) -> None:
        """Stop; returns at once, and `finished` is called when everything has ended."""
        self._cancelled = True
        if self._process:
            self._process.cancel()

    def kill(self) -> None:
        """Stop now, without a word to the listener; for the end of Slicer or of the panel."""
        self._cancelled = self._ended = True
        if self._process:
            self._process.kill()
        self._cts.stop()
        drop_temporary_folder(self._folder)

    def poll(self) -> None:
        """Report what has happened since the last call."""
        if self._ended:
            return
        if self._process is None:
            self._start_engine()
            return
        if not self._cancelled:
            self._hand_over()
        for event in self._process.events():
            if not self._cancelled:
                self._report(event)
        self._report_progress()
        if not self._process.running and not self._ended:
            self._end()

    def _start_engine(self) -> None:
        if self._cancelled:
            self._finish()
            return
        arguments = self._request.arguments(self._cts.list, self._folder / "results", self._folder / "p")
        process = EngineProcess(arguments)
        try:
            self._cts.write_list()
            process.start()
        except Exception as error:
            self._listener.error(None, _("The segmentation cannot be started: {error}").format(error=error), "")
            self._finish()
            return
        self._process = process

    def _hand_over(self) -> None:
        """Write a part of the CT that the engine needs next, while it starts or computes another one."""
        number = self._cts.current
        try:
            try:
                self._cts.write_on(len(self._answered))
            except Exception as error:
                self._report_error(number, _("The CT cannot be handed over: {error}").format(error=error))
                self._cts.give_up()
        except OSError:
            self._cancel_for_want_of_room()

    def _cancel_for_want_of_room(self) -> None:
        assert self._process
        self._cts.stop()
        self._process.cancel()
        self._report_error(None, _("No more CTs can be handed over: Slicer's temporary folder cannot be written."))

    def _report(self, event: Event) -> None:
        kind, number = event["event"], self._number_of(event)
        if number is not None and number != self._current:
            self._report_progress()
            self._current, self._stages = number, {}
        if kind in (STAGE, PROGRESS):
            if "fraction" in event:
                self._stages[event["stage"]] = event["fraction"]
                self._doing = title_of(event["stage"])
            else:
                self._report_message(event["message"])
            return
        self._report_progress()
        if kind == ERROR:
            self._report_error(number, event["message"])
        elif number is not None and number not in self._answered and kind in (PREVIEW, DONE):
            self._report_labels(number, event)

    def _report_labels(self, number: int, event: Event) -> None:
        labels: Labels = event["labels"]
        if event["event"] == PREVIEW:
            self._listener.preview(number, labels)
            return
        if self._folder in Path(event["output"]).parents:
            with suppress(OSError):
                Path(event["output"]).unlink()
        if labels.geometry.shape_zyx != self._grids[number]:
            self._report_error(number, _("The result does not lie on the grid of the CT; the details say more."))
            return
        self._answer({number})
        self._listener.done(number, labels, event["measurements"])

    def _report_message(self, text: str) -> None:
        self._messages += 1
        if self._messages < MOST_MESSAGES:
            self._listener.message(text)
        elif self._messages == MOST_MESSAGES:
            self._listener.message(_("The engine says more, which is left out here."))

    def _report_progress(self) -> None:
        """Once for all that the engine reported since the last time."""
        if not self._doing:
            return
        text, self._doing = self._doing, ""
        count = len(self._grids)
        fraction = min((self._current + share_done(self._stages)) / count, 1.0)
        spent = time.monotonic() - self._began
        left = spent * (1 - fraction) / fraction if fraction > 0.05 else None
        which = f"{self._current + 1} of {count}: " if count > 1 else ""
        self._listener.progress(fraction, which + text, left)

    def _number_of(self, event: Event) -> int | None:
        case = event["case"]
        number = int(case) if case.isascii() and case.isdigit() and len(case) < 10 else -1
        return number if 0 <= number < len(self._grids) else None

    def _report_error(self, number: int | None, text: str) -> None:
        """Report that a CT failed, or all of them."""
        blamed = set(range(len(self._grids))) if number is None else {number}
        if blamed <= self._answered:
            return
        self._answer(blamed)
        self._listener.error(number, text, self.log)

    def _answer(self, numbers: set[int]) -> None:
        """The engine is done with these."""
        self._answered |= numbers
        for number in numbers:
            self._cts.remove(number)

    def _end(self) -> None:
        assert self._process
        if len(self._answered) < len(self._grids) and not self._cancelled:
            self._listener.error(None, self._why_it_ended(self._process), self.log)
        self._finish()

    def _why_it_ended(self, process: EngineProcess) -> str:
        if reason := process.why_it_failed():
            return reason
        missing, count = len(self._grids) - len(self._answered), len(self._grids)
        if count == 1:
            return _("The engine ended without a result; the details say more.")
        words = _("The engine ended without a result for {missing} of {count} CTs; the details say more.")
        return words.format(missing=missing, count=count)

    def _finish(self) -> None:
        self._ended = True
        self._cts.stop()
        drop_temporary_folder(self._folder)
        self._listener.finished(self._cancelled)


def temporary_folder() -> Path:
    """A new folder where Slicer keeps its temporary files, which users may choose; else where the system does."""
    with suppress(ImportError, AttributeError, OutputError):
        from slicer import app

        if chosen := str(app.temporaryPath or ""):
            return make_temporary_folder(Path(chosen))
    return make_temporary_folder()
