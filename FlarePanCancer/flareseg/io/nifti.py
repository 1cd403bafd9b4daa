"""NIfTI-1: what its header says about the voxels, and how a label map is written.

Source: nifti1.h of the NIfTI Data Format Working Group, https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.payload import GZIP_MAGIC, Payload
from flareseg.volume import Geometry

HEADER_BYTES = 348
DATA_OFFSET = 352
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""NumPy type of each scalar datatype code."""


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed of a header beyond the geometry that SimpleITK takes from it.

    Attributes:
        payload: where the voxels are.
        slope, intercept: value = stored * slope + intercept.
        pixdim_xyz: voxel size as the header's pixdim has it, in its units.
        sform: 4 by 4, voxel (x, y, z) to RAS, or None where the header has none.
        has_qform: whether it has a qform.
    """

    payload: Payload
    slope: float
    intercept: float
    pixdim_xyz: tuple[float, float, float]
    sform: NDArray[np.float64] | None
    has_qform: bool


def read_header(path: Path) -> NiftiHeader:
    """Parse the header of a .nii or .nii.gz file.

    Raises:
        InputError: when it is not a NIfTI-1 header or the voxels are not plain numbers.
    """
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC  # whatever the file is called
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"'{path}' is damaged: its data cannot be decompressed.") from None
    order = next((o for o in "<>" if len(raw) == HEADER_BYTES and struct.unpack_from(f"{o}i", raw) == (348,)), None)
    if order is None or raw[344:347] != b"n+1":
        raise InputError(f"'{path}' is not a NIfTI-1 file, whatever its ending says.")
    code = struct.unpack_from(f"{order}h", raw, 70)[0]
    if code not in DTYPES:
        raise InputError(f"'{path}' holds colours, vectors or complex numbers (NIfTI datatype {code}), not a CT.")
    offset = max(int(struct.unpack_from(f"{order}f", raw, 108)[0]), DATA_OFFSET)
    slope, intercept = struct.unpack_from(f"{order}2f", raw, 112)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        slope, intercept = 1.0, 0.0  # by the standard, a slope of 0 means that there is no scaling
    pixdim = struct.unpack_from(f"{order}3f", raw, 80)
    qform_code, sform_code = struct.unpack_from(f"{order}2h", raw, 252)
    sform = np.eye(4)
    sform[:3] = np.reshape(struct.unpack_from(f"{order}12f", raw, 280), (3, 4))
    return NiftiHeader(
        payload=Payload(
            file=path,
            dtype=np.dtype(order + DTYPES[code]),
            offset=0 if compressed else offset,
            compressed=compressed,
            skip=offset if compressed else 0,
        ),
        slope=slope,
        intercept=intercept,
        pixdim_xyz=pixdim,
        sform=sform if sform_code > 0 else None,
        has_qform=qform_code > 0,
    )


def label_header(geometry: Geometry, description: str) -> bytes:
    """Header and empty extension flag of an uncompressed uint8 label map on `geometry`; the voxels follow.

    Args:
        geometry: its grid; the direction is written as qform (a rotation) and sform (as it is).
        description: at most 79 ASCII characters; others are replaced, more are cut.
    """
    affine = LPS_TO_RAS @ geometry.index_to_world()
    quaternion, qfac = _quaternion(LPS_TO_RAS[:3, :3] @ np.asarray(geometry.direction))
    z, y, x = geometry.shape_zyx
    dz, dy, dx = geometry.spacing_zyx_mm
    header = bytearray(DATA_OFFSET)

    def put(position: int, form: str, *values: Any) -> None:
        struct.pack_into(f"<{form}", header, position, *values)

    put(0, "i", HEADER_BYTES)
    put(38, "c", b"r")  # "regular", which readers of the older Analyze format look for
    put(40, "8h", 3, x, y, z, 1, 1, 1, 1)
    put(70, "2h", 2, 8)  # datatype uint8, bits per voxel
    put(76, "8f", qfac, dx, dy, dz, 0, 0, 0, 0)
    put(108, "3f", DATA_OFFSET, 1, 0)  # offset, slope, intercept
    put(123, "B", 2)  # units: millimetre
    put(148, "80s", description.encode("ascii", "replace")[:79])
    put(252, "2h", 1, 1)  # qform and sform are scanner coordinates
    put(256, "3f", *quaternion)
    put(268, "3f", *affine[:3, 3])
    put(280, "12f", *affine[:3].ravel())
    put(344, "4s", b"n+1")
    return bytes(header)


def _quaternion(direction: NDArray[np.float64]) -> tuple[tuple[float, float, float], float]:
    """The quaternion's b, c, d (a is not negative) of a direction matrix, and -1 where its third axis is mirrored."""
    left, _, right = np.linalg.svd(direction)
    rotation = left @ right  # the nearest matrix with orthogonal axes
    qfac = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= qfac
    # The eigenvector of the largest eigenvalue of this symmetric matrix is the quaternion, for every rotation, also
    # near 180 degrees (Bar-Itzhack, J. Guidance 23(6), 2000).
    xx, xy, xz, yx, yy, yz, zx, zy, zz = rotation.ravel()
    matrix = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    b, c, d, a = np.linalg.eigh(matrix)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return (float(sign * b), float(sign * c), float(sign * d)), qfac
