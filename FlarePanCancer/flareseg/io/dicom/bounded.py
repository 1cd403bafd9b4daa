"""A file for pydicom that comes to an end: it reads runs of zeros, one empty element after the other, for hours."""

from __future__ import annotations

from typing import Any, BinaryIO

MOST_BYTES = 2 << 30
"""An enhanced CT of 2,000 frames has 1 GB."""
LARGE = 1 << 20
MOST_READS = 5_000_000
MOST_ZEROS = 64
"""Of reads in a row of eight bytes that are all zero. No element begins so: the rest pads the file, or was lost."""
_NOTHING = bytes(8)


class Bounded:
    """A binary stream that ends in a run of zeros, and raises ValueError once more is read than any image needs."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._bytes = self._reads = self._zeros = 0

    def read(self, size: int = -1) -> bytes:
        if self._zeros > MOST_ZEROS:
            return b""
        self._reads += 1
        left = MOST_BYTES - self._bytes
        wanted = size if 0 <= size <= left else left + 1
        # Python takes memory for all that is asked for, before it finds that there is less.
        data = self._stream.read(wanted if wanted <= LARGE else min(wanted, self._ahead()))
        self._bytes += len(data)
        if self._bytes > MOST_BYTES or self._reads > MOST_READS:
            raise ValueError("it holds more than any image")
        if size:
            self._zeros = self._zeros + 1 if data == _NOTHING else 0
        return data

    def _ahead(self) -> int:
        here = self._stream.tell()
        end = self._stream.seek(0, 2)
        self._stream.seek(here)
        return max(0, end - here)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
