"""NIfTI-1: what its header says about the voxels.

Source: nifti1.h of the NIfTI Data Format Working Group, https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.payload import GZIP_MAGIC, Payload

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
        pixdim_xyz: voxel size by the header's pixdim, in the header's unit of length.
        sform: 4 by 4, voxel (x, y, z) to RAS, or None where the header has none.
    """

    payload: Payload
    slope: float
    intercept: float
    pixdim_xyz: tuple[float, float, float]
    sform: NDArray[np.float64] | None


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
    if raw[:4] in (struct.pack("<i", 540), struct.pack(">i", 540)):
        raise InputError(f"'{path}' is a NIfTI-2 file, which cannot be read; save it as NIfTI-1.")
    if order is None or raw[344:347] != b"n+1":
        raise InputError(f"'{path}' is not a NIfTI-1 file, whatever its ending says.")
    code = struct.unpack_from(f"{order}h", raw, 70)[0]
    if code not in DTYPES:
        raise InputError(f"'{path}' holds colours, vectors or complex numbers (NIfTI datatype {code}), not a CT.")
    offset = struct.unpack_from(f"{order}f", raw, 108)[0]
    if not np.isfinite(offset):
        raise InputError(f"'{path}' has a damaged header: it does not say where the voxels begin.")
    offset = max(int(offset), DATA_OFFSET)
    slope, intercept = struct.unpack_from(f"{order}2f", raw, 112)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        slope, intercept = 1.0, 0.0  # by the standard, a slope of 0 means that there is no scaling
    pixdim = struct.unpack_from(f"{order}3f", raw, 80)
    rank, *sizes = struct.unpack_from(f"{order}8h", raw, 40)
    if not 1 <= rank <= 7 or min(sizes[:rank]) < 1:
        raise InputError(f"'{path}' has a damaged header: its dimensions make no sense.")
    if not all(np.isfinite(mm) and mm != 0 for mm in pixdim[:rank]):  # ITK would take 1 mm
        raise InputError(f"'{path}' has a voxel spacing of zero; correct its header first.")
    sform_code = struct.unpack_from(f"{order}h", raw, 254)[0]
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
        pixdim_xyz=(abs(pixdim[0]), abs(pixdim[1]), abs(pixdim[2])),
        sform=sform if sform_code > 0 else None,
    )
