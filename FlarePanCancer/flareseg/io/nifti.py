"""NIfTI: headers of both versions, alone or with voxels in a file of their own (.hdr and .img), and writing NIfTI-1.

Sources: nifti1.h and nifti2.h of the NIfTI Data Format Working Group, https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError, OutputError
from flareseg.io.contents import not_of_kind
from flareseg.io.decode import first_inflated
from flareseg.io.header import UNSTATED, Header, grid_of, volume_shape
from flareseg.io.pairs import voxel_file
from flareseg.io.payload import GZIP_MAGIC, Payload, write_gzip, write_raw
from flareseg.io.text_header import wrong
from flareseg.nifti_transforms import LPS_TO_RAS, MILLIMETRES, SCANNER_ANATOMICAL, NiftiForms, farthest_mm
from flareseg.volume import Geometry

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""NumPy type of each scalar datatype code."""
_CODES = {"uint8": (2, 8), "int16": (4, 16), "float32": (16, 32)}
"""Datatype code and bits of what is written."""
_LONGEST_AXIS = 32767
LARGEST_MOVE_MM = 0.2
"""A grid is still that of its NIfTI header when no voxel is further away: shear that was taken out moves some."""
LARGEST_SIZE_DIFFERENCE = 0.01
LARGEST_DISAGREEMENT_MM = 0.5
_SPATIAL_UNITS = 7
_SMALLEST, _LARGEST = 1e-9, 1e9
"""Of lengths in any unit."""


@dataclass(frozen=True)
class _Layout:
    """Where the fields of a header are, in bytes, and as what they are stored."""

    bytes: int
    magic: int
    dim: tuple[int, str]
    datatype: int
    pixdim: tuple[int, str]
    offset: tuple[int, str]
    scale: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    srow: tuple[int, str]
    units: int


_NIFTI_1 = _Layout(
    348, 344, (40, "8h"), 70, (76, "8f"), (108, "f"), (112, "2f"), (252, "2h"), (256, "6f"), (280, "12f"), 123
)
_NIFTI_2 = _Layout(
    540, 4, (16, "8q"), 12, (104, "8d"), (168, "q"), (176, "2d"), (344, "2i"), (352, "6d"), (400, "12d"), 500
)


def read_nifti(path: Path, *, force: bool = False, foreign: bool = False) -> Header:
    """Parse the header of a .nii or .hdr file, gzipped or not, whatever it is called.

    Args:
        path: the file.
        force: go by pixdim, as ITK does, where the sform states another voxel size.
        foreign: whether an .img file may be a link that leads out of the folder.

    Raises:
        InputError: when it is none or damaged, or the voxels are not plain numbers.
    """
    raw, compressed = _first_bytes(path)
    layout, order = _layout(path, raw)

    def get(field: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(order + field[1], raw, field[0])

    [code] = get((layout.datatype, "h"))
    if code not in DTYPES:
        raise InputError(f"'{path}' holds colours, vectors or complex numbers (NIfTI datatype {code}), not a CT.")
    rank, *sizes = get(layout.dim)
    if not 1 <= rank <= 7 or min(sizes[:rank]) < 1:
        raise InputError(f"'{path}' has a damaged header: its dimensions make no sense.")
    shape_zyx = volume_shape(path, sizes[:rank])
    forms = _forms(path, get, layout)
    if not force:
        _check_voxel_size(path, forms)
    axes, origin = forms.axes_and_origin()
    slope, intercept = get(layout.scale)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        slope, intercept = 1.0, 0.0  # by the standard, a slope of 0 means that there is no scaling
    [offset] = get(layout.offset)
    if not np.isfinite(offset) or abs(offset) > 2**62:
        raise InputError(f"'{path}' has a damaged header: it does not say where the voxels begin.")
    file, least = path, layout.bytes + 4
    if raw[layout.magic : layout.magic + 2] == b"ni":
        file, least = voxel_file(path, foreign=foreign), 0
        compressed = _is_gzip(file)
    return Header(
        shape=shape_zyx,
        geometry=grid_of(path, shape_zyx, axes, forms.sizes_mm(), origin, nifti=forms),
        payload=Payload(
            files=(file,),
            dtype=np.dtype(order + DTYPES[code]),
            encoding="gzip" if compressed else "raw",
            skip=max(int(offset), least),
        ),
        slope=slope,
        intercept=intercept,
        notes=_notes(forms, shape_zyx),
    )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC  # whatever the file is called


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    if _is_gzip(path):
        return first_inflated(path, _NIFTI_2.bytes), True
    with path.open("rb") as file:
        return file.read(_NIFTI_2.bytes), False


def _layout(path: Path, raw: bytes) -> tuple[_Layout, str]:
    """Which of both headers it is, in which byte order."""
    for order in "<>":
        for layout, magic in ((_NIFTI_1, (b"n+1", b"ni1")), (_NIFTI_2, (b"n+2", b"ni2"))):
            if len(raw) < layout.bytes or struct.unpack_from(f"{order}i", raw) != (layout.bytes,):
                continue
            found = raw[layout.magic : layout.magic + 3]
            if found in magic:
                if found.startswith(b"ni") and not _may_have_voxels_apart(path):
                    raise InputError(f"'{path}' is the header of two files; name it .hdr, with its .img beside it.")
                return layout, order
            if layout is _NIFTI_1 and _may_have_voxels_apart(path):
                raise InputError(
                    f"'{path}' is an Analyze header, which does not say which side is left; convert the CT to NIfTI."
                )
    raise not_of_kind(path, "a NIfTI-1 file, nor NIfTI-2")


def _may_have_voxels_apart(path: Path) -> bool:
    return path.name.lower().endswith((".hdr", ".hdr.gz"))


def _forms(path: Path, get: Any, layout: _Layout) -> NiftiForms:
    qfac, *pixdim = get(layout.pixdim)
    if not all(_SMALLEST <= abs(length) <= _LARGEST for length in pixdim[:3]):  # ITK would take 1 mm
        raise InputError(f"'{path}' has a voxel spacing of zero, or without bounds; correct its header first.")
    qform_code, sform_code = get(layout.codes)
    quaternion = get(layout.quaternion)
    if qform_code > 0 and not (_within_bounds(quaternion) and np.abs(quaternion[:3]).max() < 2):
        raise wrong(path, "qform", " ".join(f"{number:g}" for number in quaternion))
    srow = get(layout.srow)
    if sform_code > 0 and not (_within_bounds(srow) and _has_axes(srow)):
        if qform_code <= 0:
            raise wrong(path, "sform", " ".join(f"{number:g}" for number in srow))
        sform_code = 0
    if qform_code <= 0 and not _within_bounds(quaternion):  # what does not count may be anything
        quaternion = (0.0,) * 6
    if sform_code <= 0 and not _within_bounds(srow):
        srow = (0.0,) * 12
    [units] = get((layout.units, "B" if layout is _NIFTI_1 else "i"))
    return NiftiForms(
        qform_code=max(qform_code, 0),
        sform_code=max(sform_code, 0),
        qfac=-1.0 if qfac < 0 else 1.0,
        pixdim_xyz=(abs(pixdim[0]), abs(pixdim[1]), abs(pixdim[2])),
        quaternion_bcd=quaternion[:3],
        qoffset_xyz=quaternion[3:],
        srow_xyz=(srow[:4], srow[4:8], srow[8:]),
        unit_code=units & _SPATIAL_UNITS,
    )


def _within_bounds(values: tuple[float, ...]) -> bool:
    return all(abs(value) <= _LARGEST for value in values)  # not of NaN


def _has_axes(srow: tuple[float, ...]) -> bool:
    return bool(np.abs(np.reshape(srow, (3, 4))[:, :3]).max(axis=0).min() >= _SMALLEST)


def _check_voxel_size(path: Path, forms: NiftiForms) -> None:
    """Refuse a NIfTI whose sform and pixdim state different voxel sizes: ITK takes pixdim, others the sform."""
    if not forms.sform_code:
        return
    by_pixdim = forms.sizes_mm()
    by_sform = np.linalg.norm(forms.sform()[:3, :3], axis=0)
    if not np.allclose(by_pixdim, by_sform, rtol=LARGEST_SIZE_DIFFERENCE, atol=0):
        sizes = " and ".join(" x ".join(f"{length:.4g}" for length in axes) for axes in (by_pixdim, by_sform))
        raise InputError(
            f"'{path}' states two voxel sizes, {sizes} (pixdim and sform); correct its header first, "
            "or use --force to go by pixdim."
        )


def _notes(forms: NiftiForms, shape_zyx: tuple[int, int, int]) -> tuple[str, ...]:
    """What a header leaves open, or says twice in different ways."""
    followed = forms.followed()
    if not followed:
        return (UNSTATED,)
    apart_mm = forms.disagreement_mm(shape_zyx)
    if apart_mm <= LARGEST_DISAGREEMENT_MM:
        return ()
    return (
        f"The NIfTI header states two positions, qform and sform, up to {apart_mm:.1f} mm apart; the {followed} was "
        "followed, and a NIfTI result states both as this file does.",
    )


def write_nifti(path: Path, array: NDArray[Any], geometry: Geometry, *, compressed: bool) -> None:
    """Write a (z, y, x) array of uint8, int16 or float32 as NIfTI-1 (.nii or .nii.gz).

    The format holds geometry in single precision: positions are true to about 1e-4 mm.
    """
    header = _header_bytes(array, geometry)
    with path.open("wb") as file:
        if not compressed:
            file.write(header)
            write_raw(file, array)
            return
        write_gzip(file, header, array)


def _header_bytes(array: NDArray[Any], geometry: Geometry) -> bytes:
    code, bits = _CODES[array.dtype.name]
    z, y, x = array.shape
    if max(array.shape) > _LONGEST_AXIS:
        raise OutputError(f"NIfTI holds no more than {_LONGEST_AXIS} voxels along an axis; write .nrrd instead.")
    forms = _forms_to_write(geometry)
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


def _forms_to_write(geometry: Geometry) -> NiftiForms:
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
