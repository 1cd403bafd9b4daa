"""What a person or a program sees while a model is downloaded: a bar, or JSON lines."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any, Protocol

from flareseg.commands.console import JsonListener
from flareseg.progress import DONE, PROGRESS, STAGE
from flareseg.public.presets import Follower
from flareseg.system.streams import OutputGone, print_line, tell
from flareseg.text import visible

DOWNLOAD, INSTALL = "download", "install"
"""Stages in the JSON lines."""
SAY_EVERY_S = 0.2


class GetListener(Follower, Protocol):
    """A follower that also hears how it ended. Of a preset's members only `member` tells."""

    def installed(self, name: str, folder: str) -> None:
        """The model is installed, now or since earlier."""

    def error(self, text: str) -> None:
        """It is not: one line."""


class BarFollower:
    """A bar on standard error with speed and time left; nothing but sentences where that is no terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None

    def received(self, done: int, total: int | None) -> None:
        if self._bar is None and sys.stderr is not None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=visible(self._name),
                initial=done,
                total=total,
                unit="B",
                unit_scale=True,
                file=sys.stderr,
                leave=False,
                disable=not sys.stderr.isatty(),
            )
        if self._bar is not None:
            self._bar.update(max(0, done - self._bar.n))

    def member(self, name: str, number: int, count: int) -> None:
        self._close()
        self._name = name
        self.message(f"{number} of {count}: {visible(name)}")

    def message(self, text: str) -> None:
        with suppress(OutputGone):
            print_line(text, sys.stderr)

    def installing(self) -> None:
        self._close()
        self.message("Converting ...")

    def installed(self, name: str, folder: str) -> None:
        self._close()
        print_line(installed_line(name), sys.stdout)

    def error(self, text: str) -> None:
        self._close()
        tell(f"flareseg: {text}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class JsonFollower(JsonListener):
    """One JSON object a line on standard output, as `flareseg segment` has them, with bytes and seconds left."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.begin(name)
        self._wanted = name
        self._of: dict[str, int] = {}
        self._began: tuple[float, int] | None = None
        self._said = 0.0

    def member(self, name: str, number: int, count: int) -> None:
        self.begin(name)
        self._began, self._of = None, {"number": number, "count": count}

    def received(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        began, first = self._began or (now, done)
        if self._began is not None and done != total and now - self._said < SAY_EVERY_S:
            return
        event = PROGRESS if self._began else STAGE
        self._began, self._said = (began, first), now
        speed = (done - first) / (now - began) if now > began else 0.0
        self._print(
            event,
            stage=DOWNLOAD,
            fraction=round(done / total, 4) if total else 0.0,
            message="Downloading",
            bytes=done,
            total=total,
            seconds_left=round((total - done) / speed, 1) if total and speed else None,
            **self._of,
        )

    def installing(self) -> None:
        self._print(STAGE, stage=INSTALL, fraction=0.0, message="Converting", **self._of)

    def installed(self, name: str, folder: str) -> None:
        self.begin(self._wanted)
        self._print(DONE, fraction=1.0, output=folder, model=name)


class SilentFollower:
    """Errors on standard error, nothing else."""

    def __init__(self, name: str) -> None:
        pass

    def received(self, done: int, total: int | None) -> None:
        pass

    def member(self, name: str, number: int, count: int) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def installing(self) -> None:
        pass

    def installed(self, name: str, folder: str) -> None:
        pass

    def error(self, text: str) -> None:
        tell(f"flareseg: {text}")


def installed_line(name: str) -> str:
    return f"'{name}' is installed; use it with: flareseg segment CT --model {name}"
