"""What a reader and its process say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flareseg.reading.limits import Limits
from flareseg.reading.shared import Handle


@dataclass(frozen=True)
class Request:
    """Read the CT at `source`, within `limits`; `force`, `series` and `foreign_files` as in `read_volume`."""

    source: Path
    force: bool = False
    series: str | None = None
    foreign_files: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Ready:
    """The process has started."""


@dataclass(frozen=True)
class Began:
    """The reading has begun, and is stopped when it takes more than this."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Done:
    """A volume was read: its voxels, and all of its other fields."""

    voxels: Handle
    fields: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """It cannot be read.

    Attributes:
        kind: name of the class in `flareseg.errors`.
        text: one line for the user.
        trace: Python's own words, for --debug.
    """

    kind: str
    text: str
    trace: str


Message = Request | Ready | Began | Done | Failed
