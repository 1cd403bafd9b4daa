"""NIfTI-1 and NRRD files, byte for byte the same for the same content.

Written here because the usual writers compress slowly, stamp dates or versions, or leave no room for Slicer's fields.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Geometry

# The fastest deflate: label maps shrink a hundredfold at any level.
LEVEL = 1
_NIFTI_CODES = {"uint8": (2, 8), "int16": (4, 16), "float32": (16, 32)}
_NRRD_TYPES = {"uint8": "unsigned char", "int16": "short", "float32": "float"}
_SCANNER_ANATOMICAL, _MILLIMETRES = 1, 2


def write_nifti(path: Path, array: NDArray[Any], geometry: Geometry, *, compressed: bool) -> None:
    """Write a (z, y, x) array of uint8, int16 or float32 as NIfTI-1 (.nii or .nii.gz).

    The format holds geometry in single precision: positions are true to about 1e-4 mm.
    """
    header = _nifti_header(array, geometry)
    with path.open("wb") as file:
        if not compressed:
            file.write(header)
            for block in _blocks(array):
                file.write(block)
            return
        _write_gzip(file, header, array)


def write_nrrd(
    path: Path, array: NDArray[Any], geometry: Geometry, fields: dict[str, str], *, compressed: bool = True
) -> None:
    """Write a (z, y, x) array of uint8, int16 or float32 as an attached NRRD, with more `fields` in its header."""
    z, y, x = array.shape
    steps = np.asarray(geometry.direction) * np.asarray(geometry.spacing_zyx_mm[::-1])
    directions = " ".join(_vector(steps[:, axis]) for axis in range(3))
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[array.dtype.name]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {x} {y} {z}",
        f"space directions: {directions}",
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'gzip' if compressed else 'raw'}",
        f"space origin: {_vector(np.asarray(geometry.origin_xyz_mm))}",
        *(f"{key}:={value}" for key, value in fields.items()),
    ]
    with path.open("wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode("utf-8"))
        if compressed:
            _write_gzip(file, b"", array)
            return
        for block in _blocks(array):
            file.write(block)


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"


def _nifti_header(array: NDArray[Any], geometry: Geometry) -> bytes:
    code, bits = _NIFTI_CODES[array.dtype.name]
    z, y, x = array.shape
    sz, sy, sx = geometry.spacing_zyx_mm
    # NIfTI's world is RAS, ours is LPS: x and y change sign.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.index_to_world()
    rotation = np.diag([-1.0, -1.0, 1.0]) @ np.asarray(geometry.direction)
    handedness = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= handedness
    from scipy.spatial.transform import Rotation  # slow to load, and reading needs none of it

    b, c, d, a = Rotation.from_matrix(rotation).as_quat()
    if a < 0:
        b, c, d = -b, -c, -d
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, handedness, sx, sy, sz, 0, 0, 0, 0)
    struct.pack_into("<fff", header, 108, 352.0, 1.0, 0.0)
    struct.pack_into("<b", header, 123, _MILLIMETRES)
    struct.pack_into("<hh", header, 252, _SCANNER_ANATOMICAL, _SCANNER_ANATOMICAL)
    struct.pack_into("<6f", header, 256, b, c, d, *affine[:3, 3])
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *affine[row])
    header[344:348] = b"n+1\0"
    return bytes(header)


def _write_gzip(file: Any, header: bytes, array: NDArray[Any]) -> None:
    # 31: a gzip stream whose time stamp is 0
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    file.write(packer.compress(header))
    for block in _blocks(array):
        file.write(packer.compress(block))
    file.write(packer.flush())


def _blocks(array: NDArray[Any]) -> Iterator[bytes]:
    """The array's bytes, little-endian, x fastest, slice by slice: a flipped view is never copied whole."""
    for piece in array:
        yield np.ascontiguousarray(piece, array.dtype.newbyteorder("<")).tobytes()
