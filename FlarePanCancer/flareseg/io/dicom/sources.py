"""Where the files of a DICOM input come from: a folder and those below it, a DICOMDIR, or a zip."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flareseg.errors import InputError
from flareseg.io.dicom.archive import open_zip
from flareseg.io.dicom.dicomdir import listed_files
from flareseg.io.dicom.member import MOST_FILES, Source

DICOMDIR = "DICOMDIR"


@dataclass(frozen=True)
class Files:
    """The files of one input.

    Attributes:
        files: all regular files, in the order of their names.
        name: of the input, for messages and tables.
        notes: what could not be looked at.
        missing: files that a DICOMDIR lists and that are not there, each with the UID of its series.
    """

    files: tuple[Source, ...]
    name: str
    notes: tuple[str, ...] = ()
    missing: tuple[tuple[Path, str], ...] = ()


def is_container(path: Path) -> bool:
    """Whether a file stands for several DICOM files: a DICOMDIR or a zip."""
    if path.is_dir():
        return False
    return is_dicomdir(path) or (path.suffix.lower() == ".zip" and is_zip(path))


def is_dicomdir(path: Path) -> bool:
    """Whether a file is called as the list of a medium's DICOM files, which stands for its folder."""
    return path.name.upper() == DICOMDIR


def is_zip(path: Path) -> bool:
    """Whether a file is a zip by its content."""
    try:
        return zipfile.is_zipfile(path)
    except (OSError, ValueError):
        return False


@contextmanager
def files_of(path: Path) -> Iterator[Files]:
    """The files of a folder, a DICOMDIR or a zip; a zip is open as long as the context is.

    Raises:
        InputError: when it is missing or cannot be read.
    """
    if path.is_dir():
        files, notes = walk(path)
        yield Files(tuple(files), path.resolve().name, notes)
    elif is_dicomdir(path):
        files, missing = listed_files(path)
        if files:
            yield Files(tuple(files), path.resolve().parent.name, (), tuple(missing))
        else:  # it lists nothing that is there: take what lies beside it
            files, notes = walk(path.parent)
            yield Files(tuple(files), path.resolve().parent.name, notes)
    elif is_zip(path):
        with open_zip(path) as members:
            yield Files(tuple(members), path.stem)
    else:
        raise InputError(f"There is no folder '{path}'.")


def walk(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """All regular files in a folder and those below it, links to folders included, and notes on what is closed.

    Raises:
        InputError: when the folder itself cannot be read, or holds more files than any study.
    """
    found: list[Path] = []
    closed: list[Path] = []
    # Links may lead back up: every folder is entered once, whatever the way to it is called.
    entered: set[tuple[int, int]] = set()
    ahead = [folder]
    while ahead:
        here = ahead.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                for entry in entries:
                    kind = _kind(entry)
                    if kind == stat.S_IFDIR:
                        ahead.append(here / entry.name)
                    elif kind == stat.S_IFREG:
                        found.append(here / entry.name)
        except OSError as error:
            if here == folder:
                raise InputError(f"'{folder}' cannot be read: {error.strerror or error}.") from None
            closed.append(here)
        if len(found) > MOST_FILES:
            raise InputError(f"'{folder}' holds more than {MOST_FILES} files; name the folder of one study.")
    notes = (f"{len(closed)} folders cannot be read and were left out, the first is '{closed[0]}'.",) if closed else ()
    return sorted(found), notes


def _kind(entry: os.DirEntry[str]) -> int:
    """What an entry or the target of a link is: S_IFDIR, S_IFREG or 0; pipes and devices are never opened."""
    try:
        if entry.is_dir():
            return stat.S_IFDIR
        return stat.S_IFREG if entry.is_file() else 0
    except OSError:
        return 0
