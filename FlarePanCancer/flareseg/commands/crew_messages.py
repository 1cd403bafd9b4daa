"""What a worker process and the command that started it say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flareseg.commands.segment_request import SegmentRequest
from flareseg.commands.task import Task

NEXT = "next"


@dataclass(frozen=True)
class Orders:
    """The first thing that a worker hears.

    Attributes:
        request: what the user asked for, with this worker's options.
        cores: to which it is bound; empty is to none.
    """

    request: SegmentRequest
    cores: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """A worker's wish for the next task, or a call of the follower of one.

    Attributes:
        number: of the task; 0 for `NEXT`.
        method: `NEXT`, or what is called.
        arguments: of it.
        waits: whether the worker waits for a `Reply`.
    """

    number: int
    method: str
    arguments: tuple[Any, ...] = ()
    waits: bool = False


@dataclass(frozen=True)
class Given:
    """A task with the number by which it is spoken of."""

    number: int
    task: Task


@dataclass(frozen=True)
class Later:
    """There is no task now, but there may be one."""


@dataclass(frozen=True)
class Reply:
    """The answer to the call of that method about that task.

    Attributes:
        number, method: of the call.
        value: `Given`, `Later`, or None for no more; None for other methods.
        error: to be raised there.
    """

    number: int
    method: str
    value: Given | Later | None = None
    error: Exception | None = None
