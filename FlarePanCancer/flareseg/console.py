"""What a person or a program sees while the command line works (a bar, or JSON lines), and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

from flareseg.errors import Cancelled
from flareseg.io.atomic import discard_unfinished
from flareseg.text import as_json, visible

if TYPE_CHECKING:
    from flareseg.results.measure import Measurement

STOP_WITHIN_S = 0.7


class Stage(NamedTuple):
    """What people read while a stage runs, and its rough share of a case's time, so that a bar moves evenly."""

    title: str
    share: float


STAGES = {
    "read": Stage("Reading", 0.2),
    "body": Stage("Finding the body", 0.03),
    "region": Stage("Finding the abdomen", 0.05),
    "resample": Stage("Resampling", 0.12),
    "network": Stage("Segmenting", 0.35),
    "labels": Stage("Back to the CT's grid", 0.12),
    "beyond": Stage("Following structures out of the abdomen", 0.0),  # few CTs need it: the bar waits for it
    "components": Stage("Cleaning up", 0.03),
    "write": Stage("Writing", 0.1),
}


def title_of(stage: str) -> str:
    return STAGES[stage].title if stage in STAGES else stage


class CaseListener(Protocol):
    """A `flareseg.progress.Listener` that also knows which case is at work."""

    def begin(self, case: str) -> None: ...
    def stage(self, name: str, fraction: float) -> None: ...
    def message(self, text: str) -> None: ...
    def preview(self, output: str) -> None: ...
    def done(self, output: str, rows: Sequence[Measurement]) -> None: ...
    def error(self, text: str) -> None: ...


class BarListener:
    """A progress bar on standard error, for people; nothing but the bar's last state where that is no terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._stages: dict[str, float] = {}

    def begin(self, case: str) -> None:
        from tqdm import tqdm

        self._stages = dict.fromkeys(STAGES, 0.0)
        self._bar = tqdm(
            total=100,
            desc=visible(case),
            file=self._stream,
            leave=False,
            disable=not self._stream.isatty(),
            bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}{postfix}",
        )

    def stage(self, name: str, fraction: float) -> None:
        if self._bar is None or name not in self._stages:
            return
        self._stages[name] = fraction
        self._bar.n = 100 * sum(STAGES[stage].share * done for stage, done in self._stages.items())
        self._bar.set_postfix_str(STAGES[name].title)

    def message(self, text: str) -> None:
        print_line(text, self._stream)

    def preview(self, output: str) -> None:
        pass

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        self._close()

    def error(self, text: str) -> None:
        self._close()
        print_line(f"flareseg: {text}", self._stream)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class JsonListener:
    """One JSON object a line on standard output, for programs; errors also go to standard error, for people."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._case = ""
        self._stage = ""

    def begin(self, case: str) -> None:
        self._case, self._stage = case, ""

    def stage(self, name: str, fraction: float) -> None:
        event = "progress" if name == self._stage else "stage"
        self._stage = name
        self._print(event, stage=name, fraction=round(fraction, 4), message=title_of(name))

    def message(self, text: str) -> None:
        self._print("progress", stage=self._stage, message=text)

    def preview(self, output: str) -> None:
        self._print("preview", stage=self._stage, output=output)

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        self._print("done", fraction=1.0, output=output, measurements=[asdict(row) for row in rows])

    def error(self, text: str) -> None:
        self._print("error", stage=self._stage, message=text)
        print_line(f"flareseg: {text}", sys.stderr)

    def _print(self, event: str, **fields: Any) -> None:
        text = as_json({"event": event, "case": self._case, **fields})
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:  # escapes that JSON knows, where the stream has not all letters
            text = json.dumps(json.loads(text))
        print(text, file=self._stream, flush=True)


class SilentListener:
    """Errors on standard error, nothing else."""

    def begin(self, case: str) -> None:
        pass

    def stage(self, name: str, fraction: float) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def preview(self, output: str) -> None:
        pass

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        pass

    def error(self, text: str) -> None:
        print_line(f"flareseg: {text}", sys.stderr)


def print_line(text: str, stream: TextIO) -> None:
    """Print one line and flush; line breaks, controls and letters that the encoding lacks become escapes."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = visible(text)
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def run_until_signal(work: Callable[[Callable[[], bool]], int]) -> int:
    """Run `work(cancelled)` so that Ctrl+C and SIGTERM end it within two seconds and leave no partial file.

    The work runs in a thread of its own, because Python handles signals only between two steps of the main thread
    and one forward pass or one file read can be longer than a user wants to wait. A signal first asks the work to
    stop at its next report; work that does not come to one in time is abandoned with the process.

    Returns:
        what `work` returned, or 130 after a cancel.
    """
    stop = threading.Event()
    outcome: list[int] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(work(stop.is_set))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="flareseg", daemon=True)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        thread.start()
        while thread.is_alive() and not stop.is_set():
            thread.join(0.05)
        if stop.is_set():
            thread.join(STOP_WITHIN_S)
        if thread.is_alive():
            discard_unfinished()
            print_line(f"flareseg: {Cancelled.told}", sys.stderr)
            os._exit(Cancelled.exit_status)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if failure:
        raise failure[0]
    return outcome[0]
