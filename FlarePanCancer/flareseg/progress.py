"""How far the work is, and whether to stop: the one channel between the pipeline and whoever follows it.

Whoever follows a case implements methods of these names, and the same names are used by the command line, by Slicer's
child process and by its panel; each of them adds only what it knows more about:

    begin     the next case is at work
    stage     a stage of it has come so far
    message   a sentence for the user
    preview   a first, coarse result
    done      the result
    error     the case failed
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from flareseg.errors import Cancelled

STAGE, PROGRESS, PREVIEW, DONE, ERROR, DEVICES = "stage", "progress", "preview", "done", "error", "devices"
AVAILABLE = "available"
"""What `"event"` says in the JSON lines of the command line. The first report of a stage is `STAGE`, later ones and
messages are `PROGRESS`; `DEVICES` is the answer of `flareseg devices --json`, `AVAILABLE` that of `flareseg models
available --json`."""


class Stage(NamedTuple):
    """A part of the work on a case.

    Attributes:
        name: as the engine and programs call it.
        title: what people read while it runs.
        share: its rough share of a case's time, so that a bar moves evenly.
    """

    name: str
    title: str
    share: float


STAGES = {
    stage.name: stage
    for stage in (
        Stage("read", "Reading", 0.2),
        Stage("body", "Finding the body", 0.03),
        Stage("region", "Finding the abdomen", 0.05),
        Stage("resample", "Resampling", 0.12),
        Stage("network", "Segmenting", 0.35),
        Stage("labels", "Back to the CT's grid", 0.12),
        Stage("beyond", "Following structures out of the abdomen", 0.0),  # few CTs need it: the bar waits for it
        Stage("components", "Cleaning up", 0.03),
        Stage("write", "Writing", 0.1),
    )
}
"""Of a case, in the order in which they happen."""


def title_of(stage: str) -> str:
    """What people read while a stage runs."""
    return STAGES[stage].title if stage in STAGES else stage


def share_done(fractions: Mapping[str, float]) -> float:
    """How much of a case is done, 0 to 1, where `fractions` of its stages are."""
    return sum(STAGES[name].share * fraction for name, fraction in fractions.items() if name in STAGES)


class Listener(Protocol):
    """What the command line, the Slicer module or a notebook implements to follow a case."""

    def stage(self, name: str, fraction: float) -> None:
        """`name` has come to `fraction` (0 to 1) of its work."""

    def message(self, text: str) -> None:
        """One sentence the user should read, e.g. that the CPU took over from the GPU."""


class Silent:
    """A listener that passes over everything."""

    def stage(self, name: str, fraction: float) -> None:
        pass

    def message(self, text: str) -> None:
        pass


def never() -> bool:
    return False


@dataclass
class Progress:
    """Reports stages to a listener, times them, and raises `Cancelled` at the next report after a cancel.

    Example:
        >>> from flareseg import Progress
        >>> class Printer:
        ...     def stage(self, name, fraction):
        ...         print(f"{name}: {fraction:.0%}")
        ...
        ...     def message(self, text):
        ...         print(text)
        >>> progress = Progress(Printer(), cancelled=lambda: False)  # hand it to Segmenter.segment
        >>> with progress.stage("read"):
        ...     progress.update(0.5)
        read: 0%
        read: 50%
        read: 100%

    Attributes:
        listener: gets the reports.
        cancelled: asked at every report; True stops the work.
        seconds: wall time per finished stage, in order.
        messages: every message sent, so that a result can carry them.
    """

    listener: Listener = field(default_factory=Silent)
    cancelled: Callable[[], bool] = never
    seconds: dict[str, float] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    _current: str = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Everything inside counts as stage `name`. Stages do not nest."""
        self._current = name
        self.update(0.0)
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        self.update(1.0)

    def update(self, fraction: float) -> None:
        """Report how far the current stage is.

        Raises:
            Cancelled: when the user asked to stop.
        """
        if self.cancelled():
            raise Cancelled
        self.listener.stage(self._current, min(max(fraction, 0.0), 1.0))

    def message(self, text: str) -> None:
        self.messages.append(text)
        self.listener.message(text)


def part_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """Of a stage that does `count` equal things one after the other, the progress of thing `number`."""
    return _Part(progress, number, count) if progress and count > 1 else progress


class Relay:
    """Several models that work on one case one after the other, and take the same stages.

    A stage is reported as far as all of them together have come with it, so that no bar goes back; times and messages
    are those of the case.

    Args:
        whole: the progress of the case.
        count: how many models there are.
    """

    def __init__(self, whole: Progress, count: int) -> None:
        self.whole, self._count = whole, count
        self._reached: dict[str, float] = {}

    def leg(self, number: int, part: int = 0, parts: int = 1) -> Progress:
        """The progress of model `number`, or of one of the parts that it does one after the other."""
        return _Leg(self, number + part / parts, 1 / parts)

    def finish(self) -> None:
        """Report every stage as done, also where models were left out."""
        for name, fraction in self._reached.items():
            if fraction < 1:
                self.report(name, self._count)

    def report(self, name: str, models: float) -> None:
        """Stage `name` is done for so many models; raises as `Progress.update`."""
        self._reached[name] = max(self._reached.get(name, 0.0), models / self._count)
        self.whole._current = name
        self.whole.update(self._reached[name])


class _Leg(Progress):
    def __init__(self, relay: Relay, before: float, share: float) -> None:
        whole = relay.whole
        super().__init__(whole.listener, whole.cancelled, whole.seconds, whole.messages)
        self._relay, self._before, self._share = relay, before, share

    def update(self, fraction: float) -> None:
        self._relay.report(self._current, self._before + self._share * min(max(fraction, 0.0), 1.0))


class _Part(Progress):
    def __init__(self, whole: Progress, number: int, count: int) -> None:
        super().__init__(whole.listener, whole.cancelled)
        self._whole, self._number, self._count = whole, number, count

    def update(self, fraction: float) -> None:
        self._whole.update((self._number + fraction) / self._count)
