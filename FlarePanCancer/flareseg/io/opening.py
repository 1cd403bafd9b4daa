"""What a path leads to, and what may be opened: plain files, and of those that a header names only what lies beside it.

Pipes, sockets and devices have no end, or keep whoever opens them waiting: none is opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flareseg.errors import FlareError, InputError
from flareseg.text import shortened

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
LONGEST_PATH_SHOWN, LONGEST_NAME_SHOWN = 600, 100


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong while `path` is read becomes one sentence that names it; the cause is kept for --debug.

    Raises:
        InputError: for every failure that is none of ours.
    """
    try:
        yield
    except (FlareError, ImportError):  # what is not installed is no fault of the file
        raise
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise InputError(f"'{path}' needs more memory than this computer has free.") from error
    except Exception as error:
        raise InputError(f"'{path}' is damaged, or of a kind that cannot be read.") from error


def special_kind(path: Path) -> str:
    """ "a named pipe", "a socket", "a device" or "something else", where `path` is no file or folder; else "".

    Raises:
        OSError: when there is nothing, or nobody can tell.
    """
    mode = path.stat().st_mode
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _kind(mode)


def check_kind(path: Path, error: type[FlareError] = InputError) -> None:
    """See that `path` is a file or a folder, without opening it.

    Raises:
        InputError: when it is not there, something else, or a path that cannot be; or the `error` given.
    """
    _mode(path, error)


def is_folder(path: Path) -> bool:
    """Whether the input is a folder; if not, it is a plain file. Raises as `check_kind`."""
    return stat.S_ISDIR(_mode(path))


def check_file(path: Path) -> None:
    """See that `path` is a plain file. Raises as `check_kind`, also for a folder."""
    if is_folder(path):
        raise InputError(f"'{shortened(str(path), LONGEST_PATH_SHOWN)}' is a folder, not a file; give a file.")


def data_file(header: Path, name: str, *, foreign: bool) -> Path:
    """The file that a header names as holding its voxels.

    Args:
        header: the header.
        name: as it stands there; relative to the header's folder.
        foreign: whether it may be anywhere, because the user said so.

    Raises:
        InputError: when it is missing or no plain file, or lies elsewhere and `foreign` is not set.
    """
    shown = shortened(name, LONGEST_NAME_SHOWN)
    if not name or any(character < " " or character == "\x7f" for character in name):
        raise InputError(f"'{header}' has a damaged header: '{shown}' is no name of a file of voxels.")
    file = header.parent / name
    if "\\" in name and os.sep == "/" and not file.exists():  # as Windows writes it
        name = name.replace("\\", "/")
        file = header.parent / name
    if not foreign and not _is_below(header.parent, name):
        raise InputError(
            f"'{header}' names a file outside its own folder, '{shown}'; put the file beside it, "
            "or use --foreign-files if you trust the header."
        )
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"'{header}' has its voxels in '{shown}', which cannot be read: {why}.") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"'{header}' has its voxels in '{shown}', but that is {_kind(mode)}, not a file.")
    return file


def _is_below(folder: Path, name: str) -> bool:
    # Also what only Windows takes for absolute or for another drive, stream or computer.
    elsewhere = "\\" if os.sep == "/" else ("/", "\\")
    if name.startswith(elsewhere) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        return False
    try:
        inside = os.path.realpath(folder)
        real = os.path.realpath(folder / name)
        return os.path.commonpath([inside, real]) == inside
    except (OSError, ValueError):
        return False


def _mode(path: Path, error: type[FlareError] = InputError) -> int:
    """The mode of a file or folder; whatever else it is, is refused."""
    shown = shortened(str(path), LONGEST_PATH_SHOWN)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise error(f"'{shown}' is a link to what is not there.") from None
        raise error(f"There is no file or folder '{shown}'.") from None
    except (OSError, ValueError) as reason:  # e.g. a name longer than file systems take, links in a circle
        raise error(f"'{shown}' cannot be read: {getattr(reason, 'strerror', None) or reason}.") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise error(f"'{shown}' is {_kind(mode)}, not a file; copy its content to a file first.")
    return mode


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")
