"""Open a zip from an untrusted source within limits, without unpacking it."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flareseg.errors import ModelError

DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, MemoryError),
    *(ValueError, RuntimeError, OverflowError, IndexError),
)
"""What Python's zipfile raises for files that are no sound zips."""
_END, _END_BYTES, _LONGEST_COMMENT = b"PK\x05\x06", 22, 2**16
_END_64, _END_64_BYTES, _LOCATOR_64_BYTES, _SEE_64 = b"PK\x06\x06", 56, 20, 0xFFFFFFFF


@contextmanager
def open_zip(path: Path, most_directory_bytes: int) -> Iterator[zipfile.ZipFile]:
    """The zip at `path`.

    Args:
        path: of a plain file; devices and pipes are not even opened, as they may have no end.
        most_directory_bytes: of its table of contents, which zipfile reads whole.

    Raises:
        ModelError: when it is no zip, damaged, or holds too much.
    """
    try:
        if not is_plain_file(path) or not zipfile.is_zipfile(path):
            raise ModelError(f"'{path}' is neither a model folder nor a zip of one.")
        if _directory_bytes(path) > most_directory_bytes:
            raise ModelError(f"'{path}' holds too much to be a model's zip.")
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    except DAMAGED:
        raise ModelError(f"'{path}' is a damaged zip; get the model again.") from None


def members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its files, without folders. (`ZipInfo.is_dir` fails for an empty name.)"""
    return [info for info in archive.infolist() if not info.filename.endswith("/")]


def is_plain_file(path: Path) -> bool:
    """Whether it is a file, or a link to one; False also where there can be none of that name."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _directory_bytes(path: Path) -> int:
    """The length of the table of contents as the file's end states it; the largest where there may be two ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END_BYTES - _LONGEST_COMMENT))
        tail = file.read(_END_BYTES + _LONGEST_COMMENT)
    # zipfile takes an end without a comment first, else the last one.
    ends = {len(tail) - _END_BYTES, tail.rfind(_END)}
    return max((_stated_bytes(tail, end) for end in ends if end >= 0 and tail.startswith(_END, end)), default=0)


def _stated_bytes(tail: bytes, end: int) -> int:
    stated = int.from_bytes(tail[end + 12 : end + 16], "little")
    at = end - _LOCATOR_64_BYTES - _END_64_BYTES
    if at >= 0 and tail.startswith(_END_64, at):
        return int.from_bytes(tail[at + 40 : at + 48], "little")
    return stated
