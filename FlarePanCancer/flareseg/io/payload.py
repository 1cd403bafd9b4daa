"""The voxels of an image file: read strictly, all of them, with their checksum, or an error; and written.

Image libraries tend to fill what a damaged file lacks with zeros and go on; a CT must not be read that way.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.decode import LARGEST_RATIO, LONGEST_SKIP, LONGEST_TAIL, Short, fill_inflated, fill_raw, fill_text
from flareseg.io.opening import check_file, reading

GZIP_MAGIC = b"\x1f\x8b"
LEVEL = 1
"""The fastest deflate: label maps shrink a hundredfold at any level."""
ALWAYS_ALLOWED_BYTES = 1 << 28
"""Volumes up to here are read without a look at how much memory is free."""
Encoding = Literal["raw", "gzip", "bzip2", "text", "hex"]


@dataclass(frozen=True)
class Payload:
    """Where the voxels lie and how they are stored.

    Attributes:
        files: those that hold them, in order, each an equal share; not the header's, where these are apart.
        dtype: stored type with its byte order.
        encoding: "gzip" is any deflate stream, with gzip's or zlib's frame.
        offset: bytes of each file before the (perhaps compressed) data.
        lines: lines of each file to pass over after that.
        skip: bytes of the decompressed data before the first voxel; -1 where the voxels end with the file.
    """

    files: tuple[Path, ...]
    dtype: np.dtype[Any]
    encoding: Encoding = "raw"
    offset: int = 0
    lines: int = 0
    skip: int = 0


def read_payload(payload: Payload, shape: tuple[int, ...]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """All voxels as an array of `shape` in C order, in the machine's byte order; and notes for the user.

    Memory for them is taken only after the sizes of the files have been found to allow for that many.

    Raises:
        InputError: when a file is missing, shorter than its header says, damaged, or goes on for long after its voxels.
    """
    count = int(np.prod(shape, dtype=object))  # of any size: a header may promise anything
    share, rest = divmod(count, len(payload.files))
    if rest:
        raise InputError(f"'{payload.files[0]}' and the files after it cannot be equal parts of one volume.")
    needed = share * payload.dtype.itemsize
    if payload.skip > LONGEST_SKIP and payload.encoding != "raw":
        raise InputError(f"'{payload.files[0]}' is damaged: its voxels would begin after {_megabytes(payload.skip)}.")
    for file in payload.files:
        check_file(file)
        _check_size(file, payload, share, needed)
    _check_memory(payload.files[0], count * payload.dtype.itemsize)
    with reading(payload.files[0]):
        voxels = np.empty(count, payload.dtype)
    tail = 0
    for number, file in enumerate(payload.files):
        part = voxels[number * share : (number + 1) * share]
        with reading(file):
            tail = _fill(file, payload, part)
        if tail and len(payload.files) > 1:
            raise InputError(
                f"'{file}' is no equal part of its volume: it holds {_megabytes(tail)} more than its share."
            )
    if not payload.dtype.isnative:
        voxels = voxels.byteswap(inplace=True).view(payload.dtype.newbyteorder("="))
    slice_bytes = voxels.nbytes // shape[0]
    notes: tuple[str, ...] = ()
    if tail >= slice_bytes:
        notes = (f"'{payload.files[0].name}' goes on for {_megabytes(tail)} after the voxels that its header states.",)
    return voxels.reshape(shape), notes


def write_raw(file: BinaryIO, array: NDArray[Any]) -> None:
    """Write voxels as they are in memory, slowest axis first, little-endian."""
    # At one go where memory is as the file shall be.
    if array.flags.c_contiguous and array.dtype == array.dtype.newbyteorder("<"):
        file.write(array.reshape(-1).view(np.uint8).data)
        return
    for block in _blocks(array):
        file.write(block)


def write_gzip(file: BinaryIO, header: bytes, array: NDArray[Any]) -> None:
    """One gzip stream of `header` and the voxels, as `write_raw`; the same content always gives the same bytes."""
    # 31: a gzip stream whose time stamp is 0
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    file.write(packer.compress(header))
    for block in _blocks(array):
        file.write(packer.compress(block))
    file.write(packer.flush())


def _fill(file: Path, payload: Payload, part: NDArray[Any]) -> int:
    """Read one file's share; returns how many bytes follow it."""
    out = part.view(np.uint8).data
    try:
        if payload.encoding == "raw":
            return fill_raw(file, payload.offset, payload.lines, payload.skip, out)
        if payload.encoding in ("gzip", "bzip2"):
            tail = fill_inflated(file, payload.encoding, payload.offset, payload.lines, max(payload.skip, 0), out)
        else:
            tail = fill_text(file, payload.offset, payload.lines, max(payload.skip, 0), part, payload.encoding == "hex")
    except Short as short:
        raise InputError(f"'{file}' {short}; copy or download it again.") from None
    if tail > LONGEST_TAIL:
        raise InputError(f"'{file}' is damaged: its data go on for long after the voxels that its header states.")
    return tail


def _check_size(file: Path, payload: Payload, count: int, needed: int) -> None:
    with reading(file):
        held = file.stat().st_size - payload.offset
    if payload.encoding == "raw":
        largest = held - max(payload.skip, 0)
    elif payload.encoding in ("text", "hex"):
        largest, needed = held, (2 * count - 1 if payload.encoding == "text" else 2 * needed)
    else:
        largest = held * LARGEST_RATIO
    if largest < needed:
        raise InputError(
            f"'{file}' is too short: its header promises {_megabytes(needed)} of voxels, "
            f"but the file holds {_megabytes(max(held, 0))}; copy or download it again."
        )


def _check_memory(file: Path, needed: int) -> None:
    """Refuse, before the system ends the process, what this computer cannot hold."""
    if needed <= ALWAYS_ALLOWED_BYTES:
        return
    import psutil

    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed > free:
        raise InputError(f"'{file}' needs {_megabytes(needed)} of memory, but only {_megabytes(free)} are free.")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"


def _blocks(array: NDArray[Any]) -> Iterator[bytes]:
    """The array's bytes, little-endian, x fastest, slice by slice: a flipped view is never copied whole."""
    for piece in array:
        yield np.ascontiguousarray(piece, array.dtype.newbyteorder("<")).tobytes()
