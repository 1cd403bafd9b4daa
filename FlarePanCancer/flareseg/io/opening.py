"""What may be opened: plain files, and of those that a header names only what lies beside it or below."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flareseg.errors import FlareError, InputError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
LONGEST_SHOWN = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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


def is_folder(path: Path) -> bool:
    """Whether the input, which must exist, is a folder; if not, it is a plain file.

    Nothing is opened: a pipe would be waited for, a device may have no end.

    Raises:
        InputError: when it is missing, or neither.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"There is no file or folder '{path}'.") from None
    except (OSError, ValueError) as error:  # e.g. a name longer than file systems take, or with a zero in it
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if stat.S_ISDIR(mode):
        return True
    _check_plain(path, mode)
    return False


def check_file(path: Path) -> None:
    """Refuse what is no plain file.

    Raises:
        InputError: naming it.
    """
    with reading(path):
        _check_plain(path, path.stat().st_mode)


def data_file(header: Path, name: str, *, foreign: bool) -> Path:
    """The file that a header names as holding its voxels.

    Args:
        header: the header.
        name: as it stands there; relative to the header's folder.
        foreign: whether it may be anywhere, because the user said so.

    Raises:
        InputError: when it is missing or no plain file, or lies elsewhere and `foreign` is not set.
    """
    shown = "".join(character if character.isprintable() else " " for character in name[:LONGEST_SHOWN])
    if not name or _CONTROL.search(name):
        raise InputError(f"'{header}' has a damaged header: '{shown}' is no name of a file of voxels.")
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
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        return False
    try:
        inside = os.path.realpath(folder)
        real = os.path.realpath(folder / name)
        return os.path.commonpath([inside, real]) == inside
    except (OSError, ValueError):
        return False


def _check_plain(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InputError(f"'{path}' is {_kind(mode)}, not a file; give a file.")


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")
