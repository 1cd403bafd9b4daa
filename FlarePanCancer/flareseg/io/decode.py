"""Bytes of a file into the memory of voxels, for every encoding, without reading on beyond bounds."""

from __future__ import annotations

import bz2
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

LARGEST_RATIO = 1032
"""Deflate cannot shrink data by more than this factor; what bzip2 shrinks further is no CT."""
CHUNK = 1 << 18
LONGEST_TAIL = 1 << 24
"""Decompressed bytes after the voxels that are read, for the checksum's sake, before a file is called damaged."""
LONGEST_SKIP = 1 << 28
LONGEST_LINE = 1 << 20
LONGEST_NUMBER = 64


class Short(Exception):
    """What is wrong with data that end too early or cannot be decoded: the end of a sentence."""


def fill_raw(file: Path, offset: int, lines: int, skip: int, out: memoryview) -> int:
    """Fill `out` from plain bytes; returns how many follow. A `skip` of -1 takes the last bytes of the file."""
    with file.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        _pass_lines(source, offset, lines)
        start = size - len(out) if skip < 0 else source.tell() + skip
        source.seek(max(start, 0))
        filled = 0
        while filled < len(out):
            read = source.readinto(out[filled:])
            if not read:
                raise Short("is cut off in the middle")
            filled += read
    return max(size - start - len(out), 0)


def fill_inflated(
    file: Path, kind: Literal["gzip", "bzip2"], offset: int, lines: int, skip: int, out: memoryview
) -> int:
    """Fill `out`, and read on to the end of the compressed stream, where its checksum is.

    Returns how many bytes follow `out`; early, after more than LONGEST_TAIL, where the stream goes on and on.
    """
    filled = -skip
    with file.open("rb") as source:
        _pass_lines(source, offset, lines)
        stream = _Stream(kind)
        try:
            data = b""
            while data or stream.waits or (data := source.read(CHUNK)):
                piece, data = stream.decompress(data)
                start, stop = max(filled, 0), min(filled + len(piece), len(out))
                if stop > start:
                    out[start:stop] = piece[start - filled : stop - filled]
                filled += len(piece)
                if stream.ended:
                    if filled >= len(out):
                        return filled - len(out)
                    stream = _Stream(kind)  # a gzip file may consist of several members
                elif filled - len(out) > LONGEST_TAIL:
                    return filled - len(out)
        except (zlib.error, OSError, ValueError, EOFError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Short("is damaged: its data cannot be decompressed") from None
    raise Short("is cut off in the middle")


def first_inflated(file: Path, count: int) -> bytes:
    """The first bytes of a gzip file: `count` of them, or fewer where it is damaged or has fewer."""
    found, stream = b"", _Stream("gzip")
    with file.open("rb") as source:
        data = source.read(CHUNK)  # a gzip header may be long, but not as long as that
    try:
        while data and len(found) < count:
            piece, data = stream.decompress(data)
            found += piece
            if stream.ended:
                stream = _Stream("gzip")
    except zlib.error:
        return found
    return found[:count]


class _Stream:
    """One deflate or bzip2 stream, decompressed in pieces of bounded size.

    Attributes:
        ended: whether the stream is at its end.
        waits: whether there is more to decompress without further input.
    """

    def __init__(self, kind: Literal["gzip", "bzip2"]) -> None:
        # 32 + 15: gzip or zlib, as the data says
        self._zlib = zlib.decompressobj(wbits=47) if kind == "gzip" else None
        self._bz2 = bz2.BZ2Decompressor() if kind == "bzip2" else None
        self.ended = self.waits = False

    def decompress(self, data: bytes) -> tuple[bytes, bytes]:
        """The next piece, and the input that is left for later or for the next stream."""
        if self._zlib:
            piece = self._zlib.decompress(data, 4 * CHUNK)
            self.ended = self._zlib.eof
            return piece, self._zlib.unused_data if self.ended else self._zlib.unconsumed_tail
        assert self._bz2
        piece = self._bz2.decompress(data, 4 * CHUNK)
        self.ended = self._bz2.eof
        self.waits = not (self.ended or self._bz2.needs_input)
        return piece, self._bz2.unused_data if self.ended else b""


def fill_text(file: Path, offset: int, lines: int, skip: int, part: NDArray[Any], hexadecimal: bool) -> int:
    """Fill `part` from decimal numbers between white space or commas, or from hexadecimal digits.

    Returns how many bytes of voxels follow.
    """
    with file.open("rb") as source:
        _pass_lines(source, offset, lines)
        source.seek(skip, os.SEEK_CUR)
        return _fill_hex(source, part.view(np.uint8)) if hexadecimal else _fill_numbers(source, part)


def _fill_numbers(source: BinaryIO, part: NDArray[Any]) -> int:
    filled, rest, size, more = 0, b"", part.dtype.itemsize, True
    while more and (filled - len(part)) * size <= LONGEST_TAIL:
        data = source.read(CHUNK)
        more = bool(data)
        data = (rest + data).replace(b",", b" ")
        words = data.split()
        # The last word may go on in the next piece of the file.
        rest = words.pop() if more and words and not data[-1:].isspace() else b""
        values = _numbers(words, part.dtype)
        taken = values[: max(len(part) - filled, 0)]
        part[filled : filled + len(taken)] = taken
        filled += len(values)
        if len(rest) > LONGEST_NUMBER:
            raise Short("is damaged: what should be voxels are no numbers")
    if filled < len(part):
        raise Short("is cut off in the middle")
    return (filled - len(part)) * size


def _numbers(words: list[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        if any(len(word) > LONGEST_NUMBER or b"_" in word for word in words):
            raise ValueError
        values = np.array([float(word) for word in words], np.float64)
    except ValueError:
        raise Short("is damaged: what should be voxels are no numbers") from None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not ((values >= limits.min) & (values <= limits.max) & (values == np.rint(values))).all():
            raise Short("is damaged: it holds numbers that its type has no room for")
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _fill_hex(source: BinaryIO, part: NDArray[np.uint8]) -> int:
    filled, odd = 0, b""
    while data := source.read(CHUNK):
        digits = odd + b"".join(data.split())
        odd = digits[len(digits) // 2 * 2 :]
        try:
            values = np.frombuffer(bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii")), np.uint8)
        except ValueError:
            raise Short("is damaged: what should be voxels are no hexadecimal digits") from None
        taken = values[: max(len(part) - filled, 0)]
        part[filled : filled + len(taken)] = taken
        filled += len(values)
        if filled - len(part) > LONGEST_TAIL:
            break
    if filled < len(part):
        raise Short("is cut off in the middle")
    return filled - len(part)


def _pass_lines(source: Any, offset: int, lines: int) -> None:
    source.seek(offset)
    for _ in range(lines):
        if not source.readline(LONGEST_LINE):
            raise Short("is cut off in the middle")
