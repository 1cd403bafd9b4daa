"""A follower that passes on what it hears, by the names of a `Follower`'s methods, to whoever follows elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flareseg.commands.task import Follower
from flareseg.results.measure import Measurement


class Relay(Follower):
    """Stages are not passed on: nobody follows those of several cases at once."""

    def tell(self, method: str, *arguments: Any) -> None:
        """Pass on a call."""
        raise NotImplementedError

    def stage(self, name: str, fraction: float) -> None:
        pass

    def message(self, text: str) -> None:
        self.tell("message", text)

    def preview(self, output: str) -> None:
        self.tell("preview", output)

    def done(self, rows: Sequence[Measurement], times: str) -> None:
        self.tell("done", tuple(rows), times)

    def failed(self, text: str, unusable: bool) -> None:
        self.tell("failed", text, unusable)

    def left(self) -> None:
        self.tell("left")
