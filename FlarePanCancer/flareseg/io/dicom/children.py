"""Which series folders hold, from a few headers of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from flareseg.errors import InputError
from flareseg.io.dicom.headers import beginning_of, header_of, is_dicom, quiet_pydicom
from flareseg.io.dicom.sources import walk
from flareseg.io.dicom.values import text

SAMPLES = 5


def series_of_children(folder: Path | str) -> dict[Path, frozenset[str]]:
    """As `series_of_folders`, of every direct child folder.

    Raises:
        InputError: when the folder cannot be read.
    """
    path = Path(folder)
    try:
        children = sorted(child for child in path.iterdir() if child.is_dir())
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    return series_of_folders(children)


def series_of_folders(folders: Iterable[Path]) -> dict[Path, frozenset[str]]:
    """The UIDs of the image series in every folder, with all folders below it.

    Slices of one series usually lie together: a few files of a folder, from the first to the last by name, stand for
    all of it if they agree; if they do not, all are read. So a series of which a folder holds a few files among those
    of another one may be missed.

    Returns:
        Folders that hold DICOM images; two that share a UID hold parts of one series, or copies. Series without a UID
        are left out, as nobody can say whether two of them are one.
    """
    found: dict[Path, frozenset[str]] = {}
    with quiet_pydicom():
        for folder in folders:
            uids = _series_below(folder)
            if uids is not None:
                found[folder] = frozenset(uids - {""})
    return found


def _series_below(folder: Path) -> set[str] | None:
    """The UIDs in a folder and those below it; None where it holds no DICOM image."""
    try:
        files, _ = walk(folder)
    except InputError:
        return None
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)
    uids: set[str] = set()
    for members in by_folder.values():
        sample = _of(_spread(members))
        uids |= sample if len(sample) == 1 else _of(members)
    return uids or None


def _spread(files: list[Path]) -> list[Path]:
    """Some of the files, from the first to the last."""
    if len(files) <= SAMPLES:
        return files
    return [files[round(i * (len(files) - 1) / (SAMPLES - 1))] for i in range(SAMPLES)]


def _of(files: list[Path]) -> set[str]:
    """The series of the DICOM images among some files."""
    uids = set()
    for file in files:
        beginning = beginning_of(file)
        header = header_of(file, beginning) if is_dicom(beginning) else None
        if header is not None and text(header, "Rows"):
            uids.add(text(header, "SeriesInstanceUID"))
    return uids
