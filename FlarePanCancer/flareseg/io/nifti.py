"""NIfTI-1 and NIfTI-2 headers, alone or with their voxels in a file of their own (.hdr and .img).

Sources: nifti1.h and nifti2.h of the NIfTI Data Format Working Group, https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flareseg.errors import InputError
from flareseg.io.decode import first_inflated
from flareseg.io.header import UNSTATED, Header, grid_of, volume_shape
from flareseg.io.pairs import voxel_file
from flareseg.io.payload import GZIP_MAGIC, Payload
from flareseg.io.text_header import wrong
from flareseg.nifti_transforms import LPS_TO_RAS, NiftiForms

__all__ = ["LPS_TO_RAS", "read_nifti"]
DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""NumPy type of each scalar datatype code."""
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
    raise InputError(f"'{path}' is not a NIfTI-1 file, nor NIfTI-2, whatever its ending says.")


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
