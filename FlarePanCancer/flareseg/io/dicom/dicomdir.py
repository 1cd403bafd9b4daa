"""The files that a DICOMDIR lists."""

from __future__ import annotations

from pathlib import Path

from flareseg.errors import InputError
from flareseg.io.dicom.headers import beginning_of, quiet_pydicom, read_data_set
from flareseg.io.dicom.values import text


def listed_files(path: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The files beside or below a DICOMDIR that it lists, and those that are missing with the UIDs of their series.

    Raises:
        InputError: when it is damaged.
    """
    try:
        with quiet_pydicom():
            records = list(read_data_set(path, beginning_of(path)).get("DirectoryRecordSequence") or [])
    except Exception as error:  # pydicom raises errors of many kinds for damaged files
        words = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"'{path}' cannot be read: {words}; name its folder instead.") from None
    found: list[Path] = []
    missing: list[tuple[Path, str]] = []
    names: dict[Path, dict[str, str]] = {}
    uid = ""
    for record in records:
        if text(record, "DirectoryRecordType").upper() == "SERIES":
            uid = text(record, "SeriesInstanceUID")
        parts = [part for part in text(record, "ReferencedFileID").replace("/", "\\").split("\\") if part]
        if not parts:
            continue
        file = _file(path.parent, parts, names)
        if file is None:
            missing.append((path.parent.joinpath(*parts), uid))
        else:
            found.append(file)
    return sorted(set(found)), missing


def _file(folder: Path, parts: list[str], names: dict[Path, dict[str, str]]) -> Path | None:
    """The file that the parts name, in any case of letters; None where there is none, or it is outside the folder."""
    here = folder
    for part in parts:
        if part in (".", "..") or ":" in part:
            return None
        there = here / part
        if not there.exists():
            if here not in names:
                names[here] = _names(here)
            name = names[here].get(part.lower())
            if name is None:
                return None
            there = here / name
        here = there
    return here if here.is_file() else None


def _names(folder: Path) -> dict[str, str]:
    """The names in a folder by their lower case; discs may add a version, as in `IM0001;1`."""
    try:
        return {child.name.lower().split(";")[0]: child.name for child in folder.iterdir()}
    except OSError:
        return {}
