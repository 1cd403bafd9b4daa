"""The files in a zip, read into memory one at a time: nothing is written anywhere."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from flareseg.errors import InputError
from flareseg.io.dicom.headers import read_header
from flareseg.io.dicom.member import MOST_BYTES_OF_MEMBER, MOST_FILES, Member
from flareseg.system.zip_bombs import is_bomb

ENCRYPTED = 0x1


@contextmanager
def open_zip(path: Path) -> Iterator[list[Member]]:
    """The files in a zip, in the order of their names.

    Names serve for messages only, so that one with `..` leads nowhere; members larger than any CT are refused.

    Raises:
        InputError: when it is damaged, encrypted, or made to fill the memory.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"'{path}' is no zip that can be read: {error}.") from None
    with archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if len(infos) > MOST_FILES:
            raise InputError(
                f"'{path}' holds more than {MOST_FILES} files; unpack it, and name the folder of one study."
            )
        if any(info.flag_bits & ENCRYPTED for info in infos):
            raise InputError(f"'{path}' is encrypted; unpack it first.")
        large = next((info for info in infos if info.file_size > MOST_BYTES_OF_MEMBER), None)
        large = large or next((info for info in infos if is_bomb(info)), None)
        if large is not None:
            raise InputError(f"'{path}' holds a file of {large.file_size / 1e6:.0f} MB, '{large.filename}'; unpack it.")
        yield sorted(Member(PurePosixPath(info.filename), archive, info) for info in infos)


def zip_holds_images(path: Path) -> bool | None:
    """Whether a zip has DICOM images in it; None where it cannot be read."""
    try:
        with open_zip(path) as members:
            return any((header := read_header(member)) is not None and "Rows" in header for member in members)
    except InputError:
        return None
