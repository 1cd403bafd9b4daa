"""The voxels of an image file, read strictly: all of them, with their checksum, or an error.

Image libraries tend to fill what a damaged file lacks with zeros and go on; a CT must not be read that way.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_LIMIT = 1032
"""Deflate cannot shrink data by more than this factor."""
CHUNK = 1 << 18


@dataclass(frozen=True)
class Payload:
    """Where the voxels lie and how they are stored.

    Attributes:
        file: the file that holds them; not the header's, where the two are apart.
        dtype: stored type with its byte order.
        offset: bytes of the file before the (perhaps compressed) data.
        compressed: whether they are a gzip or zlib stream.
        skip: bytes of the decompressed stream before the first voxel.
    """

    file: Path
    dtype: np.dtype[Any]
    offset: int = 0
    compressed: bool = False
    skip: int = 0


def read_payload(payload: Payload, shape: tuple[int, ...]) -> NDArray[Any]:
    """All voxels as an array of `shape` in C order, in the machine's byte order.

    Memory for them is taken only after the size of the file has been found to allow for that many.

    Raises:
        InputError: when the file is missing, shorter than its header says, or damaged.
    """
    count = int(np.prod(shape, dtype=object))  # of any size: a header may promise anything
    needed = count * payload.dtype.itemsize
    try:
        held = payload.file.stat().st_size - payload.offset
        if held * (DEFLATE_LIMIT if payload.compressed else 1) < needed:
            raise InputError(
                f"'{payload.file}' is too short: its header promises {_megabytes(needed)} of voxels, "
                f"but the file holds {_megabytes(max(held, 0))}; copy or download it again."
            )
        if payload.compressed:
            voxels = np.empty(count, payload.dtype)
            _inflate(payload, voxels.view(np.uint8).data)
        else:
            voxels = np.fromfile(payload.file, payload.dtype, count, offset=payload.offset)
    except OSError as error:
        raise InputError(f"'{payload.file}' cannot be read: {error.strerror or error}.") from None
    except zlib.error:
        raise InputError(f"'{payload.file}' is damaged: its data cannot be decompressed.") from None
    if not payload.dtype.isnative:
        voxels = voxels.byteswap(inplace=True).view(payload.dtype.newbyteorder("="))
    return voxels.reshape(shape)


def _inflate(payload: Payload, out: memoryview) -> None:
    """Fill `out`, and read on to the end of the compressed stream, where zlib compares the checksum."""
    filled = -payload.skip
    with payload.file.open("rb") as file:
        file.seek(payload.offset)
        stream = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, as the data says
        while data := file.read(CHUNK):
            while data:
                piece = stream.decompress(data, 4 * CHUNK)
                start, stop = max(filled, 0), min(filled + len(piece), len(out))
                if stop > start:
                    out[start:stop] = piece[start - filled : stop - filled]
                filled += len(piece)
                if stream.eof:
                    if filled >= len(out):
                        return
                    data = stream.unused_data  # a gzip file may consist of several members
                    stream = zlib.decompressobj(wbits=47)
                else:
                    data = stream.unconsumed_tail
    raise InputError(f"'{payload.file}' is cut off in the middle; copy or download it again.")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
