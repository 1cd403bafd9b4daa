"""A public model on its way into the user's models: the engine's process, and what it says, passed on to a listener.

Nothing here touches the screen. `poll`, called now and then on the main thread, never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from slicer.i18n import tr as _

from FlarePanCancerLib.events import Event
from FlarePanCancerLib.process import EngineProcess
from FlarePanCancerLib.words import megabytes, spoken
from flareseg.progress import DONE, ERROR, PROGRESS, STAGE

DOWNLOAD = "download"
"""The stage that has bytes; the other one converts."""
CONVERTED = 0.95
"""How much of a model is done when it is downloaded, 0 to 1."""


class GettingListener(Protocol):
    """Follows a model on its way. Every method is called on the thread that polls."""

    def progress(self, fraction: float, text: str) -> None:
        """How far all of it is, 0 to 1, and what is done now."""

    def done(self, model: str) -> None:
        """It is one of the user's models, called `model`."""

    def error(self, text: str, member: str, details: str) -> None:
        """It is not: one sentence, the model of the catalogue that is to blame, and the log."""

    def finished(self, cancelled: bool) -> None:
        """Nothing follows; no process is left."""


class Getting:
    """`flareseg models get` in the background.

    Args:
        arguments: of the command; see `Offer.arguments`.
        listener: follows it.
    """

    def __init__(self, arguments: Sequence[str], listener: GettingListener) -> None:
        self._process = EngineProcess(arguments)
        self._listener = listener
        self._answered = self._cancelled = False

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def start(self) -> None:
        """Begin; returns at once.

        Raises:
            OSError: when there is no Python to start.
        """
        self._listener.progress(0.0, str(_("Starting")))
        self._process.start()

    def poll(self) -> None:
        """Report what has happened since the last call."""
        for event in self._process.events():
            if not self._cancelled:
                self._report(event)
        if self._process.running:
            return
        if not self._answered and not self._cancelled:
            text = self._process.why_it_failed() or str(_("The engine ended without an answer; the details say more."))
            self._listener.error(text, "", self._log)
        self._listener.finished(self._cancelled)

    def cancel(self) -> None:
        """Stop; returns at once, and `finished` is called when the process has ended. What has come is kept."""
        self._cancelled = True
        self._process.cancel()

    def kill(self) -> None:
        """Stop now, without a word to the listener."""
        self._cancelled = True
        self._process.kill()

    @property
    def _log(self) -> str:
        return "\n".join(self._process.log)

    def _report(self, event: Event) -> None:
        kind = event["event"]
        if kind in (STAGE, PROGRESS) and "fraction" in event:
            self._report_progress(event)
        elif kind == DONE and "model" in event:
            self._answered = True
            self._listener.done(event["model"])
        elif kind == ERROR:
            self._answered = True
            self._listener.error(event["message"], event["case"], self._log)

    def _report_progress(self, event: Event) -> None:
        number, count = int(event.get("number", 1)), max(int(event.get("count", 1)), 1)
        downloading = event["stage"] == DOWNLOAD
        part = CONVERTED * event["fraction"] if downloading else CONVERTED
        text = _downloading(event) if downloading else str(_("Converting"))
        if count > 1:
            text = str(_("{number} of {count}: {text}")).format(number=number, count=count, text=text)
        self._listener.progress(min((number - 1 + part) / count, 1.0), text)


def _downloading(event: Event) -> str:
    done, total, left = (event.get(key) for key in ("bytes", "total", "seconds_left"))
    if done is None:
        return str(_("Downloading"))
    if total is None:
        return str(_("Downloading, {done} MB")).format(done=megabytes(done))
    if left is None:
        return str(_("Downloading, {done} of {total} MB")).format(done=megabytes(done), total=megabytes(total))
    words = str(_("Downloading, {done} of {total} MB, {time} left"))
    return words.format(done=megabytes(done), total=megabytes(total), time=spoken(left))
