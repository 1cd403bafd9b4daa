"""One image file as it is stored: its header parsed, its voxels read strictly (see `payload`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.header import Header
from flareseg.io.meta import read_meta
from flareseg.io.nifti import read_nifti
from flareseg.io.nrrd import read_nrrd
from flareseg.io.opening import check_file, reading
from flareseg.io.payload import read_payload
from flareseg.volume import Geometry


@dataclass(frozen=True)
class StoredImage:
    """What an image file holds.

    Attributes:
        stored: (z, y, x) values as stored; (z, y, x, layer) where layers were asked for and the file has several.
        geometry: their grid.
        slope, intercept: value = stored * slope + intercept.
        fields: key/value pairs of the header.
        notes: what a user should know.
    """

    stored: NDArray[Any]
    geometry: Geometry
    slope: float = 1.0
    intercept: float = 0.0
    fields: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_image(path: Path, *, force: bool = False, layers: bool = False, foreign_files: bool = False) -> StoredImage:
    """Read a NIfTI, NRRD or MetaImage file.

    Args:
        path: the file.
        force: go by pixdim, as ITK does, where a NIfTI's sform states another voxel size.
        layers: accept several values per voxel.
        foreign_files: read voxels from any file that a header names, not only from those beside it or below.

    Raises:
        InputError: when it is damaged, not what its ending says, or no 3-D image; naming the file.
    """
    header = _checked_header(path, force, foreign_files)
    several = 1 if header.layer_axis is None else header.shape[header.layer_axis]
    if several != 1 and not layers:
        raise InputError(f"'{path}' has {several} values per voxel (colours or vectors); one is needed.")
    stored, notes = read_payload(header.payload, header.shape)
    if header.layer_axis is not None:
        stored = stored.squeeze(header.layer_axis) if several == 1 else np.moveaxis(stored, header.layer_axis, -1)
    return StoredImage(
        stored=stored,
        geometry=header.geometry,
        slope=header.slope,
        intercept=header.intercept,
        fields=header.fields,
        notes=header.notes + notes,
    )


def read_geometry(path: Path) -> Geometry:
    """The grid of a NIfTI, NRRD or MetaImage file from its header alone; raises as `read_image`."""
    return _checked_header(path, force=False, foreign=False).geometry


def _checked_header(path: Path, force: bool, foreign: bool) -> Header:
    check_file(path)
    with reading(path):
        if path.stat().st_size == 0:
            raise InputError(f"'{path}' is empty.")
        return _header(path, force, foreign)


def _header(path: Path, force: bool, foreign: bool) -> Header:
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")):
        return read_nrrd(path, foreign=foreign)
    if name.endswith((".mha", ".mhd")):
        return read_meta(path, foreign=foreign)
    return read_nifti(path, force=force, foreign=foreign)
