"""JSON files of a run: atomic writing, and reading of files that may be missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flareseg.errors import InputError
from flareseg.io.atomic import atomic_path


def write_json(path: Path, data: Any) -> None:
    """Write `data` atomically, replacing an existing file; paths become strings.

    Raises:
        OutputError: when the file cannot be written.
    """
    with atomic_path(path, overwrite=True) as partial:
        partial.write_text(json.dumps(data, indent=1, default=str), encoding="utf-8")


def read_table(path: Path) -> dict[str, Any]:
    """A table written by `write_json`; empty if it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def checked_table(path: Path, unreadable: str = "no valid JSON") -> dict[str, Any]:
    """A table that somebody else wrote; `unreadable` is what a file that cannot be read is called.

    Raises:
        InputError: when it cannot be read, or is no table.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"'{path}' is {unreadable}.") from None
    if not isinstance(found, dict):
        raise InputError(f"'{path}' is no table of keys and values.")
    return found
