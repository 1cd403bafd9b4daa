"""What a path leads to. Pipes, sockets and devices never end, or keep whoever opens them waiting: none is opened."""

from __future__ import annotations

import stat
from pathlib import Path

from flareseg.errors import FlareError, InputError

LONGEST_SHOWN = 600
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def special_kind(path: Path) -> str:
    """ "a pipe", "a socket", "a device" or "something else", where `path` is no file or folder; else "".

    Raises:
        OSError: when there is nothing, or nobody can tell.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return next((name for test, name in _KINDS if test(mode)), "something else")


def check_kind(path: Path, error: type[FlareError] = InputError) -> None:
    """See that `path` is a file or a folder, without opening it.

    Raises:
        InputError: when it is not there, something else, or a path that cannot be; or the `error` given.
    """
    shown = str(path) if len(str(path)) <= LONGEST_SHOWN else f"{str(path)[:LONGEST_SHOWN]}..."
    try:
        kind = special_kind(path)
    except FileNotFoundError:
        raise error(f"There is no file or folder '{shown}'.") from None
    except (OSError, ValueError) as reason:  # e.g. a name longer than file systems take, links in a circle
        raise error(f"'{shown}' cannot be read: {getattr(reason, 'strerror', None) or reason}.") from None
    if kind:
        raise error(f"'{path}' is {kind}, no file; copy its content to a file first.")
