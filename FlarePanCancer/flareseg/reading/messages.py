"""What a reader and its process say to each other: small objects of our own, pickled, each with its length before it.

Both ends are flareseg, started by the same command; nothing else can write into these pipes.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from flareseg.reading.limits import Limits
from flareseg.reading.shared import Handle

_LENGTH = struct.Struct("<Q")


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


def send(stream: IO[bytes], message: Message) -> None:
    data = pickle.dumps(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """The next message; None at the end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    message: Message | None = pickle.loads(data) if len(data) == length else None
    return message
