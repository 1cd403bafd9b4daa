"""Files and folders that are whole or absent: written beside their destination under a hidden name, then renamed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from flareseg.errors import OutputError
from flareseg.io.opening import special_kind
from flareseg.system.interrupt import on_abandon, remove_folder
from flareseg.system.leftovers import LONGEST_NAME, aside_name, remove_leftovers, temporary_name
from flareseg.system.temporary import discard_temporary_folders
from flareseg.text import shortened

_unfinished: set[Path] = set()
_lock = threading.Lock()


def check_destination(path: Path, *, overwrite: bool = False) -> None:
    """Check that `path` can be written, before minutes of work go into its content.

    Folders that do not exist yet are fine as long as they can be created. Nothing is written.

    Raises:
        OutputError: when the path is a folder, exists (unless `overwrite`), is too long, or cannot be written.
    """
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OutputError(
            f"The name '{shortened(path.name, 40)}' is longer than {LONGEST_NAME} bytes; choose a shorter one."
        )
    try:
        if path.is_dir():
            raise OutputError(f"'{path}' is a folder; name a file in it.")
        if path.exists() and (kind := special_kind(path)):
            raise OutputError(f"'{path}' is {kind}, which no file may replace; choose another name.")
        if not overwrite and os.path.lexists(path):
            raise OutputError(f"'{path}' exists; use --overwrite to replace it, or choose another name.")
        ancestor = path.absolute().parent
        while not os.path.lexists(ancestor):
            ancestor = ancestor.parent
        if not ancestor.is_dir():
            what = "is a file, not a folder" if ancestor.exists() else "is a link to what is not there"
            raise OutputError(f"'{path}' cannot be written: '{ancestor}' {what}.")
        if not os.access(ancestor, os.W_OK | os.X_OK):
            raise OutputError(f"'{path}' cannot be written: the folder '{ancestor}' is not writable.")
    except OSError as error:
        raise _output_error(path, error) from None


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, with the same endings, which becomes `path` when the block ends well.

    Missing folders are made. The block should do nothing but write. Whatever stops it (a full disk, a cancel, Ctrl+C)
    leaves no file, and an existing file as it was. Of a process that is killed meanwhile the temporary file stays until
    another one of ours writes into the same folder.

    Raises:
        OutputError: when the file cannot be written, or exists and `overwrite` is False.
    """
    check_destination(path, overwrite=overwrite)
    # Short, because the name of the result itself may be as long as the file system allows.
    temporary = path.with_name(temporary_name(_ending(path)))
    remove_leftovers(path.parent, once=True)
    with _lock:
        _unfinished.add(temporary)
    try:
        make_folder(path.parent)
        # Creating the file here, rather than in the block, gives it the permissions that the user's umask asks for.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        check_destination(path, overwrite=overwrite)
        temporary.replace(path)
    except OSError as error:
        raise _output_error(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        with _lock:
            _unfinished.discard(temporary)


@contextmanager
def atomic_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """An empty hidden folder beside `folder`, which takes its place when the block ends well.

    A folder that is there stays as it is until then, and its content is not kept. Whatever stops the block leaves
    nothing. Of a process that is killed meanwhile the next one of ours that writes beside it removes what is left.

    Raises:
        OutputError: when it is no folder, exists and `overwrite` is False, or something cannot be written.
    """
    scratch = folder.with_name(temporary_name())
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"'{folder}' is a file; name a folder.")
        if folder.exists() and not overwrite:
            raise OutputError(f"'{folder}' exists already; choose another name, or allow it to be replaced.")
        remove_leftovers(folder.parent, once=True)
        with on_abandon(partial(remove_folder, scratch)):
            make_folder(scratch)
            yield scratch
            _put_in_place(scratch, folder)
    except OSError as error:
        raise _output_error(folder, error) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(new: Path, folder: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    # If the process is killed between the two steps, the next one finds the old folder and puts it back.
    old = folder.with_name(aside_name(folder.name))
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, as `mkdir(parents=True)`, which fails where more than a thousand are missing.

    Raises:
        OSError: when it cannot be made, or is a file.
    """
    missing = []
    while not folder.is_dir() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)


def discard_unfinished() -> None:
    """Remove every file that is being written right now, and temporary folders; for a process that is about to end."""
    with _lock:
        for path in _unfinished:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    discard_temporary_folders()


def _ending(path: Path) -> str:
    """The ending by which writers choose the format, at most 16 characters; it starts with a dot."""
    ending = "".join(path.suffixes[-2:])
    return ending if len(ending) <= 16 else path.suffix[:16]


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(f"'{path}' cannot be written: {error.strerror or error}.")
