"""Temporary files of killed runs: recognised by name, and removed by the next run.

Every temporary file and folder is named after the process that makes it: machine, process number and start time. So
files of an ended process can be distinguished from those that are still being written, even where process numbers are
reused, or where computers and containers share a folder. In doubt a file is kept.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from flareseg.system.processes import UNKNOWN, process_began

LONGEST_NAME = 255
"""Bytes of a file name that common file systems take."""
_OWNER = r"(?P<place>[0-9a-f]{8})-(?P<pid>\d{1,10})-(?P<began>\d{1,20})-[0-9a-f]{8}"
_TEMPORARY = re.compile(rf"\.?flareseg-{_OWNER}(?:[^-].*)?", re.DOTALL)
_SET_ASIDE = re.compile(rf"\.flareseg-aside-{_OWNER}-(?P<name>.+)", re.DOTALL)
_seen: set[tuple[int, str]] = set()


def temporary_name(ending: str = "", *, hidden: bool = True) -> str:
    """A new name that contains the process it belongs to; `ending` starts with a dot."""
    return f"{'.' * hidden}flareseg-{_owner()}{ending}"


def aside_name(name: str) -> str:
    """A new name for what is moved out of the way: after a crash it gets its old one back, if that is still free."""
    aside = f".flareseg-aside-{_owner()}-{name}"
    return aside if len(os.fsencode(aside)) <= LONGEST_NAME else temporary_name()


def remove_leftovers(folder: Path, *, once: bool = False) -> None:
    """Remove what dead processes of this user have left in `folder`, and put back what they had set aside.

    Nothing else is touched: no file of a living process, of another user or another machine, none of another name.
    Nothing is raised: where nothing can be listed or removed, the leftovers stay.

    Args:
        folder: its files and folders are looked at, not those below.
        once: do nothing where this process has done it before.
    """
    key = (os.getpid(), str(folder))
    if once and key in _seen:
        return
    _seen.add(key)
    try:
        with os.scandir(folder) as entries:
            found = [(entry, match) for entry in entries if (match := _is_ours(entry.name))]
    except (OSError, ValueError):
        return
    for entry, match in found:
        with suppress(OSError):
            if match["place"] != _place() or not _is_this_users(entry):
                continue
            if _lives(int(match["pid"]), int(match["began"])):
                continue
            _remove(Path(entry.path), match.groupdict().get("name"))


def remove_temporary_leftovers() -> None:
    """As `remove_leftovers`, in the system's folder for temporary files."""
    with suppress(OSError):  # there is none that can be written
        remove_leftovers(Path(tempfile.gettempdir()), once=True)


def owner_lives(name: str) -> bool | None:
    """Whether the process that gave a file its temporary name still runs; None where that cannot be looked up here,
    because it was of another machine, or where the name is none of ours."""
    match = _TEMPORARY.fullmatch(name)
    if match is None or match["place"] != _place():
        return None
    return _lives(int(match["pid"]), int(match["began"]))


def _is_ours(name: str) -> re.Match[str] | None:
    return _SET_ASIDE.fullmatch(name) or _TEMPORARY.fullmatch(name)


def _lives(pid: int, began: int) -> bool:
    """Whether the process that began then still runs, or may do so."""
    now = process_began(pid)
    return now is not None and (UNKNOWN in (now, began) or now == began)


def _is_this_users(entry: os.DirEntry[str]) -> bool:
    """A file or folder, no link or device, of the user who runs this."""
    status = entry.stat(follow_symlinks=False)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return False
    return sys.platform == "win32" or status.st_uid == os.geteuid()


def _remove(path: Path, set_aside: str | None) -> None:
    if set_aside is not None and not os.path.lexists(path.with_name(set_aside)):
        path.rename(path.with_name(set_aside))
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _owner() -> str:
    pid = os.getpid()
    return f"{_place()}-{pid}-{_own_beginning(pid)}-{secrets.token_hex(4)}"


@cache
def _own_beginning(pid: int) -> int:
    return process_began(pid) or UNKNOWN


@cache
def _place() -> str:
    """Eight digits for all processes whose numbers this one can look up: of this machine, and of this container."""
    parts = [platform.node()]
    for source in ("/etc/machine-id", "/proc/self/ns/pid", "/proc/self/ns/time"):
        with suppress(OSError, ValueError):
            path = Path(source)
            parts.append(str(path.readlink()) if path.is_symlink() else path.read_text(encoding="utf-8").strip())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
