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

from flareseg.errors import OutputError
from flareseg.nifti_transforms import LPS_TO_RAS, MILLIMETRES, SCANNER_ANATOMICAL, NiftiForms, farthest_mm
from flareseg.volume import Geometry

# The fastest deflate: label maps shrink a hundredfold at any level.
LEVEL = 1
_NIFTI_CODES = {"uint8": (2, 8), "int16": (4, 16), "float32": (16, 32)}
_NRRD_TYPES = {"uint8": "unsigned char", "int16": "short", "float32": "float"}
LARGEST_MOVE_MM = 0.2
"""A grid is still that of its NIfTI header when no voxel is further away: shear that was taken out moves some."""
_LONGEST_AXIS = 32767


def write_nifti(path: Path, array: NDArray[Any], geometry: Geometry, *, compressed: bool) -> None:
    """Write a (z, y, x) array of uint8, int16 or float32 as NIfTI-1 (.nii or .nii.gz).

    The format holds geometry in single precision: positions are true to about 1e-4 mm.
    """
    header = _nifti_header(array, geometry)
    with path.open("wb") as file:
        if not compressed:
            file.write(header)
            _write_raw(file, array)
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
        _write_raw(file, array)


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"


def _nifti_header(array: NDArray[Any], geometry: Geometry) -> bytes:
    code, bits = _NIFTI_CODES[array.dtype.name]
    z, y, x = array.shape
    if max(array.shape) > _LONGEST_AXIS:
        raise OutputError(f"NIfTI holds no more than {_LONGEST_AXIS} voxels along an axis; write .nrrd instead.")
    forms = _forms_of(geometry)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, forms.qfac, *forms.pixdim_xyz, 0, 0, 0, 0)
    struct.pack_into("<fff", header, 108, 352.0, 1.0, 0.0)
    struct.pack_into("<B", header, 123, forms.unit_code)
    struct.pack_into("<hh", header, 252, forms.qform_code, forms.sform_code)
    struct.pack_into("<6f", header, 256, *forms.quaternion_bcd, *forms.qoffset_xyz)
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *forms.srow_xyz[row])
    header[344:348] = b"n+1\0"
    return bytes(header)


def _forms_of(geometry: Geometry) -> NiftiForms:
    """Both transforms as the CT's own header has them; otherwise both say the same, in millimetres."""
    forms = geometry.nifti
    if forms and farthest_mm(forms.index_to_world(), geometry.index_to_world(), geometry.shape_zyx) < LARGEST_MOVE_MM:
        return forms
    sz, sy, sx = geometry.spacing_zyx_mm
    affine = LPS_TO_RAS @ geometry.index_to_world()
    rotation = LPS_TO_RAS[:3, :3] @ np.asarray(geometry.direction)
    handedness = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= handedness
    from scipy.spatial.transform import Rotation  # slow to load, and reading needs none of it

    b, c, d, a = Rotation.from_matrix(rotation).as_quat()
    if a < 0:
        b, c, d = -b, -c, -d
    rows = [(row[0], row[1], row[2], row[3]) for row in affine[:3]]
    return NiftiForms(
        qform_code=SCANNER_ANATOMICAL,
        sform_code=SCANNER_ANATOMICAL,
        qfac=handedness,
        pixdim_xyz=(sx, sy, sz),
        quaternion_bcd=(b, c, d),
        qoffset_xyz=(affine[0, 3], affine[1, 3], affine[2, 3]),
        srow_xyz=(rows[0], rows[1], rows[2]),
        unit_code=MILLIMETRES,
    )


def _write_raw(file: Any, array: NDArray[Any]) -> None:
    """At one go where memory is as the file shall be: after each call a thread waits for Python's lock."""
    if array.flags.c_contiguous and array.dtype == array.dtype.newbyteorder("<"):
        file.write(array.reshape(-1).view(np.uint8).data)
        return
    for block in _blocks(array):
        file.write(block)


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
