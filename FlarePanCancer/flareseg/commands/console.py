"""What a person or a program sees while the command line works: a bar, or JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from flareseg.progress import DONE, ERROR, PREVIEW, PROGRESS, STAGE, STAGES, Listener, Silent, share_done, title_of
from flareseg.system.streams import OutputGone, print_line, print_text, tell
from flareseg.text import as_json, visible

if TYPE_CHECKING:
    from flareseg.results.measure import Measurement


class CaseListener(Listener, Protocol):
    """A listener that also knows which case is at work."""

    def begin(self, case: str) -> None:
        """The case `case` is at work; what follows is about it."""

    def preview(self, output: str) -> None:
        """A first, coarse result lies in the file `output`."""

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        """The result lies in `output`, and was measured."""

    def error(self, text: str) -> None:
        """The case failed: one line."""


class BarListener:
    """A progress bar on standard error, for people; nothing but the bar's last state where that is no terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream: TextIO | None = stream or sys.stderr
        self._bar: Any = None
        self._stages: dict[str, float] = {}

    def begin(self, case: str) -> None:
        self._stages = dict.fromkeys(STAGES, 0.0)
        if self._stream is None:  # standard error is closed
            return
        from tqdm import tqdm

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
        self._bar.n = 100 * share_done(self._stages)
        self._bar.set_postfix_str(title_of(name))

    def message(self, text: str) -> None:
        with suppress(OutputGone):
            print_line(text, self._stream)

    def preview(self, output: str) -> None:
        pass

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        self._close()

    def error(self, text: str) -> None:
        self._close()
        self.message(f"flareseg: {text}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class TallyListener(BarListener):
    """As `BarListener`, with one bar for many cases, several of which are at work at once."""

    def __init__(self, count: int, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._count = count

    def begin(self, case: str) -> None:
        pass

    def stage(self, name: str, fraction: float) -> None:
        pass

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        self.count_one()

    def error(self, text: str) -> None:
        self.count_one()
        self.message(f"flareseg: {text}")

    def count_one(self) -> None:
        """One case more needs no more work."""
        if self._bar is None and self._stream is not None:
            from tqdm import tqdm

            self._bar = tqdm(total=self._count, unit="case", file=self._stream, disable=not self._stream.isatty())
        if self._bar is not None:
            self._bar.update(1)
            if self._bar.n >= self._count:
                self._close()


class JsonListener:
    """One JSON object a line on standard output, for programs; errors also go to standard error, for people."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._case = ""
        self._stage = ""

    def begin(self, case: str) -> None:
        self._case, self._stage = case, ""

    def stage(self, name: str, fraction: float) -> None:
        event = PROGRESS if name == self._stage else STAGE
        self._stage = name
        self._print(event, stage=name, fraction=round(fraction, 4), message=title_of(name))

    def message(self, text: str) -> None:
        self._print(PROGRESS, stage=self._stage, message=text)

    def preview(self, output: str) -> None:
        self._print(PREVIEW, stage=self._stage, output=output)

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        self._print(DONE, fraction=1.0, output=output, measurements=[row.as_row() for row in rows])

    def error(self, text: str) -> None:
        self._print(ERROR, stage=self._stage, message=text)
        tell(f"flareseg: {text}")

    def _print(self, event: str, **fields: Any) -> None:
        text = as_json({"event": event, "case": self._case, **fields})
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:  # escapes that JSON knows, where the stream has not all letters
            text = json.dumps(json.loads(text))
        print_text(text, self._stream)


class SilentListener(Silent):
    """Errors on standard error; what else must be read without progress, `insist` tells."""

    def begin(self, case: str) -> None:
        pass

    def preview(self, output: str) -> None:
        pass

    def done(self, output: str, rows: Sequence[Measurement]) -> None:
        pass

    def error(self, text: str) -> None:
        tell(f"flareseg: {text}")


def insist(listener: CaseListener, text: str) -> None:
    """Tell a message also to a user who wants no progress."""
    if isinstance(listener, SilentListener):
        tell(text)


def listener_of(kind: str) -> CaseListener:
    """The listener for `--progress bar`, `json` or `none`."""
    kinds: dict[str, type[CaseListener]] = {"bar": BarListener, "json": JsonListener, "none": SilentListener}
    return kinds[kind]()
