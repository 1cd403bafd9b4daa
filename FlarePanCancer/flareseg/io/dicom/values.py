"""Numbers and texts of a DICOM header, read as leniently as their meaning is clear.

pydicom converts a value when it is asked for, and raises errors of many kinds. Here the raw bytes are read, which is
also faster.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from functools import cache
from typing import Any

BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q", "US or SS": "H"}
"""Value representations that hold binary numbers, with their codes for `struct`."""
SHOWN = 20


class UnclearValueError(ValueError):
    """A header value that cannot be understood; the message names it."""


def numbers(header: Any, keyword: str) -> list[float]:
    """All numbers of an element; empty where it is missing or empty.

    Raises:
        UnclearValueError: where one of them is no finite number.
    """
    binary, words = _parts(header, keyword)
    found = binary if binary is not None else [number for word in words for number in _numbers_of(word, keyword)]
    for number in found:
        if not math.isfinite(number):
            raise UnclearValueError(f"{keyword} is {number}")
    return found


def number(header: Any, keyword: str) -> float | None:
    """The number of an element that should hold one; None where it is missing or empty.

    Raises:
        UnclearValueError: where it is no number, or several.
    """
    found = numbers(header, keyword)
    if len(found) > 1:
        raise UnclearValueError(f"{keyword} has the values {', '.join(f'{value:g}' for value in found[:4])}")
    return found[0] if found else None


def whole(header: Any, keyword: str) -> int | None:
    """As `number`, for a whole number.

    Raises:
        UnclearValueError: where it is none.
    """
    found = number(header, keyword)
    if found is None:
        return None
    if not found.is_integer():
        raise UnclearValueError(f"{keyword} is {found:g}, no whole number")
    return int(found)


def whole_or_none(header: Any, keyword: str) -> int | None:
    """As `whole`, where a value that makes no sense counts as missing."""
    try:
        return whole(header, keyword)
    except UnclearValueError:
        return None


def number_or_none(header: Any, keyword: str) -> float | None:
    """As `number`, where a value that makes no sense counts as missing."""
    try:
        return number(header, keyword)
    except UnclearValueError:
        return None


def text(header: Any, keyword: str) -> str:
    """The value as plain text, several parts with backslashes between them; "" where it is missing or unclear."""
    try:
        binary, words = _parts(header, keyword)
    except UnclearValueError:
        return ""
    if binary is not None:
        words = [str(int(value)) if value.is_integer() else f"{value:g}" for value in binary]
    return "\\".join(words).strip()


def label(header: Any, keyword: str) -> str:
    """A number as text, so that 1, "01" and " 1" are the same; any other text as it is."""
    written = text(header, keyword)
    return str(int(written)) if written.lstrip("+-").isdecimal() else written


def name(header: Any, keyword: str) -> str:
    """A text for people, in the file's own character set."""
    try:
        return " ".join(str(header.get(keyword) or "").split())
    except Exception:  # pydicom raises errors of many kinds for values that it cannot convert
        return " ".join(text(header, keyword).split())


def as_json(header: Any, keywords: Iterable[str]) -> str:
    """The elements of these names as DICOM's JSON, in Unicode; without those that are missing or make no sense."""
    found: dict[str, Any] = {}
    for keyword in keywords if header is not None else ():
        try:
            if keyword in header:
                element = header[keyword]
                found[f"{element.tag:08X}"] = element.to_json_dict(None, 0)
        except Exception:  # pydicom raises errors of many kinds for values that it cannot convert
            continue
    return json.dumps(found, sort_keys=True)


def seconds(date: str, time: str) -> float | None:
    """Seconds since some day, of a DICOM date (YYYYMMDD or "") and time (HHMMSS.ffffff, HH:MM:SS); None if unclear."""
    digits = time.replace(":", "").strip()
    whole_part, _, fraction = digits.partition(".")
    if len(whole_part) not in (2, 4, 6) or not (whole_part + fraction).isdigit():
        return None
    padded = whole_part.ljust(6, "0")
    of_day = int(padded[:2]) * 3600 + int(padded[2:4]) * 60 + int(padded[4:]) + float(f"0.{fraction or 0}")
    days = date.replace(".", "").strip()
    if len(days) != 8 or not days.isdigit():
        return of_day
    # months as 31 days keep the order of dates, which is all that is needed
    return ((int(days[:4]) * 12 + int(days[4:6])) * 31 + int(days[6:])) * 86400.0 + of_day


def date_and_time(value: str) -> float | None:
    """As `seconds`, of a DICOM date-time (YYYYMMDDHHMMSS.ffffff&ZZXX)."""
    plain = value.strip().split("+")[0].split("-")[0]
    return seconds(plain[:8], plain[8:])


@cache
def _tag_of(keyword: str) -> tuple[Any, str]:
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.tag import Tag

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return Tag(tag), dictionary_VR(tag)


def _parts(header: Any, keyword: str) -> tuple[list[float] | None, list[str]]:
    """The binary numbers of an element, or None and its texts."""
    tag, usual = _tag_of(keyword)
    element = header.get_item(tag, keep_deferred=True)
    value = None if element is None else element.value
    if value is None or value == "" or value == b"":
        return None, []
    if not isinstance(value, bytes):
        several = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
        parts = [str(part) for part in value] if several else str(value).split("\\")
        return None, [part.strip(" \0") for part in parts]
    kind = element.VR or usual
    if kind == "UN" or (kind in ("OB", "OW") and usual in BINARY):
        kind = usual
    code = BINARY.get(kind)
    if code is not None:
        size = struct.calcsize(code)
        if len(value) % size:
            raise UnclearValueError(f"{keyword} has a length of {len(value)} bytes")
        order = "<" if element.is_little_endian else ">"
        return [float(part) for part in struct.unpack(f"{order}{len(value) // size}{code}", value)], []
    decoded = value.decode("latin-1")
    return None, [part.strip(" \0\t\r\n") for part in decoded.split("\\")]


def _numbers_of(word: str, keyword: str) -> list[float]:
    """The numbers of one part of a text value, which may hold blanks between two numbers.

    A comma is not understood: "-1,024" may be about -1, or -1024.
    """
    try:
        return [float(part) for part in word.split() or [""]]
    except ValueError:
        shown = word if len(word) <= SHOWN else f"{word[:SHOWN]}..."
        raise UnclearValueError(f"{keyword} is {shown!r}, no number") from None
