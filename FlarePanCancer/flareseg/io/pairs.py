"""Images in two files, name.hdr and name.img: which belongs to which."""

from __future__ import annotations

from pathlib import Path

from flareseg.errors import InputError
from flareseg.io.opening import data_file

HEADERS = (".hdr", ".hdr.gz")
VOXELS = (".img", ".img.gz")


def voxel_file(header: Path, *, foreign: bool = False) -> Path:
    """The .img or .img.gz file of a header.

    Raises:
        InputError: when there is none, it is no plain file, or a link that leads out of the folder.
    """
    found = _partner(header, HEADERS, VOXELS)
    if found is None:
        raise InputError(
            f"'{header}' is the header of two files, but its voxels, '{header.name[:-4]}.img', are missing."
        )
    return data_file(header, found.name, foreign=foreign)


def header_of(path: Path) -> Path | None:
    """The .hdr file of an .img file; None where `path` is no such file."""
    return _partner(path, VOXELS, HEADERS)


def is_second_file(path: Path) -> bool:
    """Whether `path` holds the voxels of a pair, so that it is no case of its own."""
    return header_of(path) is not None


def _partner(path: Path, own: tuple[str, ...], others: tuple[str, ...]) -> Path | None:
    ending = next((ending for ending in reversed(own) if path.name.lower().endswith(ending)), None)
    if ending is None:
        return None
    stem, upper = path.name[: -len(ending)], path.name[-len(ending) :].isupper()
    # Both compressed or both not, before one of each.
    wanted = sorted(others, key=lambda other: other.endswith(".gz") != ending.endswith(".gz"))
    for other in wanted:
        for written in (other.upper(), other) if upper else (other, other.upper()):
            file = path.with_name(stem + written)
            if file.exists():
                return file
    return None
