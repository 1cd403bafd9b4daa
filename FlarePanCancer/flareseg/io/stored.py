"""One image file as it is stored: SimpleITK tells the geometry, the voxels are read strictly (see `payload`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.checks import check_voxel_count
from flareseg.io.itk_names import name_for_itk
from flareseg.io.nifti import NiftiHeader, read_header
from flareseg.io.nrrd import meta_payload, nrrd_payload
from flareseg.io.payload import DEFLATE_LIMIT, Payload, read_payload
from flareseg.volume import Geometry, as_rows

LARGEST_DISAGREEMENT_MM = 0.5
LARGEST_SIZE_DIFFERENCE = 0.01


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


def read_image(path: Path, *, force: bool = False, layers: bool = False) -> StoredImage:
    """Read a NIfTI, NRRD or MetaImage file.

    Args:
        path: the file.
        force: go by pixdim, as ITK does, where a NIfTI's sform states another voxel size.
        layers: accept several values per voxel.

    Raises:
        InputError: when it is damaged, not what its ending says, or no 3-D image; naming the file.
    """
    with name_for_itk(path) as name:
        return _read_image(path, name, force, layers)


def _read_image(path: Path, itk_name: str, force: bool, layers: bool) -> StoredImage:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    nifti: NiftiHeader | None = None
    try:
        if path.stat().st_size == 0:
            raise InputError(f"'{path}' is empty.")
        name = path.name.lower()
        payload: Payload | None
        if name.endswith((".nii", ".nii.gz")):
            nifti = read_header(path)
            payload = nifti.payload
        else:
            payload = nrrd_payload(path) if name.endswith((".nrrd", ".nhdr")) else meta_payload(path)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"'{path}' cannot be read: {_why(path, str(error))}.") from None
    several = reader.GetNumberOfComponents()
    if several != 1 and not layers:
        raise InputError(f"'{path}' has {several} values per voxel (colours or vectors); one is needed.")
    geometry = _geometry(path, reader)
    if nifti and not force:
        _check_voxel_size(path, nifti)
    if payload and several == 1:
        stored = read_payload(payload, geometry.shape_zyx)
    else:  # ITK knows where in a file the layers are
        stored = _read_whole(path, reader, geometry.shape_zyx + ((several,) if several > 1 else ()))
    return StoredImage(
        stored=stored,
        geometry=geometry,
        slope=nifti.slope if nifti else 1.0,
        intercept=nifti.intercept if nifti else 0.0,
        fields={key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()},
        notes=_disagreement(nifti, geometry) if nifti else (),
    )


def _geometry(path: Path, reader: Any) -> Geometry:
    size, dimension = reader.GetSize(), reader.GetDimension()
    shape = " x ".join(str(n) for n in size)
    if dimension < 3 or any(extra != 1 for extra in size[3:]):
        raise InputError(f"'{path}' has {dimension} dimensions ({shape}); one 3-D volume is needed.")
    spacing, origin = reader.GetSpacing(), reader.GetOrigin()
    direction = np.reshape(reader.GetDirection(), (dimension, dimension))[:3, :3]
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise InputError(f"'{path}' has a sheared grid (axes that are not perpendicular); resample it first.")
    geometry = Geometry(
        shape_zyx=(size[2], size[1], size[0]),
        spacing_zyx_mm=(spacing[2], spacing[1], spacing[0]),
        origin_xyz_mm=(origin[0], origin[1], origin[2]),
        direction=as_rows(direction),
    )
    if not np.isfinite([*geometry.spacing_zyx_mm, *geometry.origin_xyz_mm]).all():
        raise InputError(f"'{path}' has a geometry with NaN or infinite numbers; correct its header first.")
    check_voxel_count(path, geometry.shape_zyx)
    return geometry


def _check_voxel_size(path: Path, nifti: NiftiHeader) -> None:
    """Refuse a NIfTI whose sform and pixdim state different voxel sizes: ITK takes pixdim, others the sform."""
    if nifti.sform is None:
        return
    by_sform = np.linalg.norm(nifti.sform[:3, :3], axis=0)
    if not np.allclose(nifti.pixdim_xyz, by_sform, rtol=LARGEST_SIZE_DIFFERENCE, atol=0):
        sizes = " and ".join(" x ".join(f"{length:.4g}" for length in axes) for axes in (nifti.pixdim_xyz, by_sform))
        raise InputError(
            f"'{path}' states two voxel sizes, {sizes} (pixdim and sform); correct its header first, "
            "or use --force to go by pixdim."
        )


def _read_whole(path: Path, reader: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """The voxels of the rarer layouts (ASCII, bzip2, slices in files of their own, layers), through SimpleITK."""
    import SimpleITK as sitk

    at_hand = sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())
    if int(np.prod(shape, dtype=object)) > at_hand * DEFLATE_LIMIT:
        raise InputError(f"'{path}' is too short: its header promises more voxels than its data can hold.")
    try:
        array: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
    except (RuntimeError, MemoryError) as error:
        raise InputError(f"'{path}' cannot be read: {_why(path, str(error))}.") from None
    return array.reshape(shape)


def _disagreement(nifti: NiftiHeader, geometry: Geometry) -> tuple[str, ...]:
    """A note where the header's sform puts the voxels elsewhere than the geometry that ITK took."""
    if nifti.sform is None or not np.isfinite(nifti.sform).all():
        return ()
    taken = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.index_to_world()
    corners = np.array([[*np.multiply(c, geometry.shape_zyx[::-1]), 1.0] for c in np.ndindex(2, 2, 2)])
    apart_mm = float(np.linalg.norm(corners @ (taken - nifti.sform).T, axis=1).max())
    if apart_mm <= LARGEST_DISAGREEMENT_MM:
        return ()
    return (f"The NIfTI header's sform puts voxels up to {apart_mm:.1f} mm from where ITK has them; ITK was followed.",)


def _why(path: Path, message: str) -> str:
    """ITK's complaint as one short clause."""
    lowered = message.lower()
    if "orthonormal" in lowered:
        return "its axes are not perpendicular (a sheared grid); resample it first"
    if "spacing" in lowered:
        return "its voxel spacing is zero, negative or missing; correct its header first"
    if "determinant" in lowered or "direction" in lowered:
        return "its axis directions are not valid; correct its header first"
    return f"it is damaged, or not the format that its ending '{''.join(path.suffixes[-1:])}' says"
