"""Numbers, lists and paths as they are typed on a command line; argparse reports what is wrong with one in one line."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from pathlib import Path

from flareseg.text import shortened

MOST_THREADS = 1024
"""On whatever machine; far fewer than a system refuses to start."""


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{quoted(text)} is not a number") from None


def finite(text: str) -> float:
    value = number(text)
    if not math.isfinite(value):
        raise ArgumentTypeError(f"{quoted(text)} is not a finite number")
    return value


def positive(text: str) -> float:
    value = number(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{quoted(text)} is not a positive number")
    return value


def positive_int(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"{quoted(text)} is not a positive whole number")
    return value


def thread_count(text: str) -> int:
    value = positive_int(text)
    if value > MOST_THREADS:
        raise ArgumentTypeError(f"{quoted(text)} is more than any machine can use; leave it out for all cores")
    return value


def window_step(text: str) -> float:
    value = number(text)
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"{quoted(text)} is not more than 0 and at most 1")
    return value


def folds(text: str) -> tuple[str, ...]:
    found = tuple(part.strip().removeprefix("fold_") for part in text.split(","))
    if not all(fold.isdecimal() or fold == "all" for fold in found):
        raise ArgumentTypeError(f"{quoted(text)} is no list of folds like 0,1,2")
    return found


def names(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise ArgumentTypeError(f"{quoted(text)} is no list of names like liver,tumour")
    return found


def path(text: str) -> Path:
    """A path; nothing, as of a shell's variable that is not set, would be the current folder."""
    if not text.strip():
        raise ArgumentTypeError("the path is empty, as of a variable that is not set")
    return Path(text)


def quoted(text: str) -> str:
    """What was typed, shortened, in quotes."""
    return f"'{shortened(text, 60)}'"
