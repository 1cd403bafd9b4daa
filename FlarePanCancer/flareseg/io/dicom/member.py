"""One file of a DICOM input: on disk, or in a zip."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias

MOST_BYTES_OF_MEMBER = 2 << 30
"""An enhanced CT of 2,000 frames has 1 GB."""
HEAD = 1 << 16
MOST_FILES = 200_000
"""Of one input."""


@dataclass(frozen=True, order=True)
class Member:
    """A file in a zip, with what is used of a Path: `open`, `name`, `parent`, and its text for messages."""

    path: PurePosixPath
    archive: zipfile.ZipFile = field(compare=False, repr=False)
    info: zipfile.ZipInfo = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.archive.filename}/{self.path}"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def parent(self) -> PurePosixPath:
        return self.path.parent

    def open(self, mode: str = "rb") -> BinaryIO:
        """The content, unpacked bit by bit; OSError where it is damaged."""
        assert mode == "rb"
        return _Stream(self)


Source: TypeAlias = Path | Member
"""A file on disk or in a zip: both have `open`, `name` and `parent`."""


class _Stream(io.BytesIO):
    """The beginning of a member, and all of it once more is read: most headers need the beginning only."""

    def __init__(self, member: Member) -> None:
        super().__init__(_unpack(member, HEAD))
        self._member: Member | None = member

    def _complete(self) -> None:
        if self._member is None:
            return
        member, self._member = self._member, None
        if member.info.file_size > HEAD:
            at = super().tell()
            super().seek(0)
            super().write(_unpack(member, MOST_BYTES_OF_MEMBER))
            super().seek(at)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or super().tell() + size > HEAD:
            self._complete()
        return super().read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 2:
            self._complete()
        return super().seek(offset, whence)


def _unpack(member: Member, most: int) -> bytes:
    """At most `most` bytes of a member, whatever its header promises."""
    try:
        with member.archive.open(member.info) as stream:
            return stream.read(most)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise OSError(f"damaged in its zip: {error}") from None
