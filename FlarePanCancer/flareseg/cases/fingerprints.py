"""By what the files of a case are known again: inputs by their ends, dates and sizes, results by all of their bytes."""

# os.path answers also about names for which pathlib raises errors, such as too long ones.
# ruff: noqa: PTH112, PTH113, PTH116, PTH118

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from flareseg.cases.clashes import files_of
from flareseg.cases.find import Case
from flareseg.io.files import ending_of

_PEEK_BYTES = 2**16


def fingerprint(source: Path, others: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The fingerprint of an input: path, size, date, and a checksum of both ends of the file.

    Args:
        source: a file, or a DICOM folder, of which the names, sizes and dates of all files count.
        others: further files that belong to it, such as the data of a detached header.

    Raises:
        OSError: when it cannot be read.
    """
    result: dict[str, Any] = {"path": os.path.realpath(source)}
    if os.path.isdir(source):
        listing = hashlib.sha256()
        size = 0
        for name, about in _listing(source):
            listing.update(os.fsencode(name) + f"\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
            size += about.st_size
        return result | {"size": size, "listing": listing.hexdigest()}
    about = os.stat(source)
    ends = hashlib.sha256()
    for file in filter(os.path.isfile, (source, *others)):  # a pipe would wait for ever
        ends.update(_ends(file))
    return result | {"size": about.st_size, "mtime_ns": about.st_mtime_ns, "ends": ends.hexdigest()}


def source_of(case: Case) -> dict[str, Any]:
    """The fingerprint of the input of a case; raises as `fingerprint`."""
    others = tuple(file for file in files_of(case.source)[1:] if os.path.isfile(file))
    result = fingerprint(case.source, tuple(dict.fromkeys(others)))
    alone = ending_of(case.source) or case.source.suffix.lower() == ".zip"
    if others or os.path.isdir(case.source) or alone:
        return result | ({"series": case.series} if case.series else {})
    # One slice of a series stands for all of it, a DICOMDIR for its folder.
    return result | {"series_folder": fingerprint(case.source.parent)}


def checksum(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file.

    Raises:
        OSError: when it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


def _ends(file: Path) -> bytes:
    """Size, date, first and last bytes: two CTs of one size and date, as archives give them, differ there."""
    about = os.stat(file)
    with file.open("rb") as stream:
        first = stream.read(_PEEK_BYTES)
        stream.seek(max(0, about.st_size - _PEEK_BYTES))
        return first + stream.read(_PEEK_BYTES) + f"\0{about.st_size}\0{about.st_mtime_ns}\n".encode()


def _listing(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Every file in and below `folder`, by its relative name; links are followed, but not in circles."""
    result, seen = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders.sort()
        for name in files:
            full = os.path.join(place, name)
            if os.path.isfile(full):
                result.append((os.path.relpath(full, folder), os.stat(full)))
    return sorted(result, key=lambda pair: pair[0])
