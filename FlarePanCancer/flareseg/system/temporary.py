"""Temporary folders that are gone when they are no longer needed, even where the process is stopped half-way."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flareseg.errors import OutputError
from flareseg.system.leftovers import remove_leftovers, temporary_name

_folders: dict[Path, int] = {}
_of_process: dict[int, Path] = {}
_lock = threading.Lock()


def make_temporary_folder(parent: Path | None = None) -> Path:
    """A new, empty folder that only this user can read; leftovers of dead processes beside it are removed.

    Whoever asks for it calls `drop_temporary_folder` in the end.

    Args:
        parent: where; the system's folder for temporary files unless given.

    Raises:
        OutputError: when it cannot be made.
    """
    try:
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        remove_leftovers(parent)
        path = parent / temporary_name(hidden=False)
        path.mkdir(mode=0o700, parents=True)
    except OSError as error:
        where = f"'{parent}'" if parent else "for temporary files"
        raise OutputError(f"The folder {where} cannot be written: {error.strerror or error}.") from None
    with _lock:
        _folders[path] = os.getpid()
    return path


def drop_temporary_folder(path: Path) -> None:
    """Remove a folder that `make_temporary_folder` made, with all that is in it."""
    shutil.rmtree(path, ignore_errors=True)
    with _lock:
        _folders.pop(path, None)


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder as of `make_temporary_folder`, for a block.

    Raises:
        OutputError: when it cannot be made.
    """
    path = make_temporary_folder(parent)
    try:
        yield path
    finally:
        drop_temporary_folder(path)


def folder_of_process() -> Path:
    """One temporary folder for the whole life of this process; made when it is first asked for.

    Raises:
        OutputError: when it cannot be made.
    """
    pid = os.getpid()
    if pid not in _of_process:
        _of_process[pid] = make_temporary_folder()
        atexit.register(discard_temporary_folders)
    return _of_process[pid]


def discard_temporary_folders() -> None:
    """Remove every temporary folder of this process; for one that is about to end."""
    with _lock:
        # a forked process knows its parent's, which are not its own
        own = [path for path, pid in _folders.items() if pid == os.getpid()]
        _of_process.pop(os.getpid(), None)
    for path in own:
        drop_temporary_folder(path)
