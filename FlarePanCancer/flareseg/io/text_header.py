"""Lines and numbers of the text headers of NRRD and MetaImage, within bounds: a header may be anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from flareseg.errors import InputError
from flareseg.text import shortened

LONGEST_LINE = 1 << 20
LONGEST_HEADER = 1 << 24
MOST_FILES = 1 << 16
LONGEST_SHOWN = 60
LARGEST_NUMBER = 1e12
"""No position, length or direction is larger; squares of larger ones might have no end."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")
_PATTERN = re.compile(r"[^%]*%(0?)([0-9]{0,2})[diu][^%]*")


def header_lines(path: Path) -> Iterator[tuple[str, int]]:
    """Each line of the file without its end, and how many bytes of the file come before the next one.

    Text is UTF-8, or Latin-1 where it is not.

    Raises:
        InputError: when a line or the header has no end.
    """
    with path.open("rb") as file:
        end = 0
        while line := file.readline(LONGEST_LINE):
            end += len(line)
            if len(line) == LONGEST_LINE or end > LONGEST_HEADER:
                raise InputError(f"'{path}' is damaged: its header has no end.")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                text = line.decode("latin-1")
            yield text.rstrip("\r\n"), end


def integers(path: Path, field: str, text: str, count: int | None = None, least: int = -(10**18)) -> list[int]:
    """The whole numbers of a field.

    Raises:
        InputError: when they are not `count` whole numbers of at least `least`.
    """
    words = text.split()
    if (count is not None and len(words) != count) or not all(_INTEGER.fullmatch(word) for word in words):
        raise wrong(path, field, text)
    values = [int(word) for word in words]
    if not values or min(values) < least:
        raise wrong(path, field, text)
    return values


def numbers(path: Path, field: str, text: str, count: int | None = None) -> list[float]:
    """The finite numbers of a field.

    Raises:
        InputError: when they are not `count` finite numbers.
    """
    words = text.split()
    if not words or (count is not None and len(words) != count) or not all(_NUMBER.fullmatch(word) for word in words):
        raise wrong(path, field, text)
    values = [float(word) for word in words]
    if not all(abs(value) <= LARGEST_NUMBER for value in values):
        raise wrong(path, field, text)
    return values


def wrong(path: Path, field: str, text: str) -> InputError:
    """That a field of a header makes no sense."""
    return InputError(f"'{path}' has a damaged header: its {field} '{shortened(text, LONGEST_SHOWN)}' makes no sense.")


def numbered_names(path: Path, field: str, text: str) -> tuple[list[str], list[int]] | None:
    """The file names that "PATTERN FIRST LAST STEP [DIMENSION]" stands for, and DIMENSION where it is given.

    None where `text` is no such pattern, hence perhaps a name.

    Raises:
        InputError: when it stands for no or too many names.
    """
    found = re.fullmatch(r"(.*?\S)((?:\s+[+-]?[0-9]{1,9}){3,4})", text)
    if not found or "%" not in found[1]:
        return None
    first, last, step, *dimension = (int(word) for word in found[2].split())
    names = range(first, last + (1 if step > 0 else -1), step) if step else range(0)
    if not _PATTERN.fullmatch(found[1]) or not 0 < len(names) <= MOST_FILES or min(names[0], names[-1]) < 0:
        raise wrong(path, field, text)
    return [found[1] % number for number in names], dimension
