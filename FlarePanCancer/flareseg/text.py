"""Foreign text (names of files, texts of headers) in messages, tables and pages.

It may hold line breaks, bytes that are no UTF-8, or what a spreadsheet calculates.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Excel, LibreOffice and Google Sheets also take the full-width forms, and look past leading blanks.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")  # noqa: RUF001
_SURROGATE = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` on one line: whatever no terminal shows, such as line breaks, marks that turn the direction of writing and
    bytes that are no UTF-8, as escapes, e.g. \\n and \\xfc."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def shortened(text: str, most: int) -> str:
    """`text` on one line, as `visible`, in at most `most` characters; where it was cut off, it ends with dots."""
    line = visible(text[: most + 1])  # a foreign text may be of any length
    return line if len(line) <= most else f"{line[: most - 3]}..."


def one_line(text: str, most: int) -> str:
    """As `shortened`, with every run of white space as one space."""
    return shortened(" ".join(text[: 4 * most].split()), most)


def encodable(text: str) -> str:
    """`text` with bytes that are no UTF-8 as escapes, so that any file can hold it."""
    return _SURROGATE.sub(lambda found: _escaped(found[0]), text)


def cell_text(text: str) -> str:
    """`text` for a cell of a table: no program takes it for a formula, whatever a file's name begins with."""
    return encodable(f"'{text}" if _FORMULA.match(text) else text)


def write_csv_rows(file: Any, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as CSV to an open text file; strings cannot become formulas, numbers stay what they are.

    A number that is written with its own decimals must come as `Number`.
    """
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [
            cell_text(value) if isinstance(value, str) and not isinstance(value, Number) else value for value in row
        ]
        # Python's writer does not quote a lone carriage return, which ends a row for its reader.
        broken = any(isinstance(value, str) and "\r" in value for value in cells)
        (quoted if broken else plain).writerow(cells)


def safe_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for `csv.DictWriter` whose strings cannot become formulas."""
    return {name: cell_text(value) if isinstance(value, str) else value for name, value in row.items()}


class Number(str):
    """A number as text, e.g. "-12.30"."""

    __slots__ = ()


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON that UTF-8 can hold. Bytes of a name that are no UTF-8 become \\udcXX, which Python reads back exactly."""
    return re.sub(
        _SURROGATE, lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False, indent=indent)
    )


def shown(path: Path | str) -> str:
    """A path for a message."""
    return visible(str(path))


def words(text: str) -> frozenset[str]:
    """A list of words, written so that it can be read."""
    return frozenset(text.split())


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
