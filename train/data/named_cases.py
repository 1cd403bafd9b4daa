"""Lists of cases in a configuration: names, or a text file with a name a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flareseg.errors import InputError


def listed_names(wanted: Sequence[str] | str, whose: str) -> list[str]:
    """The names of a list, or those in a file: one a line, empty lines and those that begin with # left out.

    Args:
        wanted: the list, or the path of the file.
        whose: for the message, such as "of the fit 'tumor'".

    Raises:
        InputError: when the file cannot be read.
    """
    if not isinstance(wanted, str):
        return list(wanted)
    try:
        lines = Path(wanted).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):  # of no text, or of a name that no file can have
        raise InputError(f"The list of cases {wanted!r} {whose} cannot be read.") from None
    return [name for line in lines if (name := line.strip()) and not name.startswith("#")]
