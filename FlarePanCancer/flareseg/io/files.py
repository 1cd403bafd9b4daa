"""CTs and label maps in files: NIfTI, NRRD and MetaImage in; NIfTI, NRRD and Slicer's .seg.nrrd out.

A DICOM folder is read by `dicom.py`, through the same `read_volume`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import FlareError, InputError, UsageError
from flareseg.io.atomic import atomic_path
from flareseg.io.checks import as_hu, check_declared_size, check_grid, check_is_ct
from flareseg.io.encode import write_nifti, write_nrrd
from flareseg.io.segments import label_table, segment_fields
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume, as_rows

IMAGE_ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
LABEL_ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd")


def ending_of(path: Path) -> str:
    """Which of the known endings `path` has, in lower case; "" for none."""
    name = path.name.lower()
    return next((ending for ending in IMAGE_ENDINGS if name.endswith(ending)), "")


def read_volume(path: Path | str, *, force: bool = False, series: str | None = None) -> Volume:
    """Read a CT.

    Args:
        path: a file (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd) or a DICOM folder.
        force: accept what does not look like a CT; NaN becomes air.
        series: number or UID of the DICOM series, where the folder holds several.

    Returns:
        HU on the file's own grid, int16 unless the file holds fractions.

    Raises:
        InputError: when it is missing, damaged, no volume, or no CT.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder '{path}'.")
    if path.is_dir() or not ending_of(path):
        from flareseg.io.dicom import is_dicom_file, read_dicom

        if path.is_file() and not is_dicom_file(path):
            raise InputError(f"'{path}' is no CT file flareseg knows ({', '.join(IMAGE_ENDINGS)}, or a DICOM folder).")
        volume = read_dicom(path if path.is_dir() else path.parent, series=series)
        array, geometry, name, notes = volume.hu, volume.geometry, volume.name, volume.notes
    else:
        array, geometry, _ = _read(path)
        name, notes = path.name[: -len(ending_of(path))], ()
    check_grid(path, geometry.shape_zyx, geometry.spacing_zyx_mm)
    hu = as_hu(path, array, force)
    if not force:
        check_is_ct(path, hu)
    return Volume(hu, geometry, name, notes)


def read_labels(path: Path | str) -> tuple[NDArray[np.uint8], Geometry]:
    """Read a label map; the segments of a .seg.nrrd get the values of the structures whose names they have.

    Raises:
        InputError: when it is missing, damaged, or holds values that are no labels.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file '{path}'.")
    if not ending_of(path):
        raise InputError(f"'{path}' is no label map flareseg can read ({', '.join(IMAGE_ENDINGS)}).")
    array, geometry, fields = _read(path)
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise InputError(f"'{path}' holds fractions, so it is no label map.")
    low, high = array.min(), array.max()
    if low < 0 or high > 255:
        raise InputError(f"'{path}' holds values from {low:g} to {high:g}; labels are 0 to 255.")
    labels = array.astype(np.uint8)
    table = label_table(path, fields)
    return (labels if table is None else table[labels]), geometry


def write_segmentation(segmentation: Segmentation, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a segmentation, whole or not at all; the same segmentation gives the same bytes.

    Args:
        path: ends in .nii.gz, .nii or .nrrd (a label map) or .seg.nrrd (Slicer's segmentation: names, colours,
            terminology, only the structures that are present).

    Raises:
        OutputError: when it exists and `overwrite` is not set, or cannot be written.
        UsageError: for another ending.
    """
    path = Path(path)
    fields = segment_fields(segmentation) if ending_of(path) == ".seg.nrrd" else {}
    return _write(segmentation.labels, segmentation.geometry, path, fields, overwrite)


def write_volume(volume: Volume, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a CT as .nii.gz, .nii or .nrrd; raises as `write_segmentation`."""
    return _write(volume.hu, volume.geometry, Path(path), {}, overwrite)


def _write(array: NDArray[Any], geometry: Geometry, path: Path, fields: dict[str, str], overwrite: bool) -> Path:
    ending = ending_of(path)
    if ending not in LABEL_ENDINGS:
        raise UsageError(f"'{path.name}' cannot be written; name a file that ends in {', '.join(LABEL_ENDINGS)}.")
    with atomic_path(path, overwrite=overwrite) as temporary:
        if ending.startswith(".nii"):
            write_nifti(temporary, array, geometry, compressed=ending == ".nii.gz")
        else:
            write_nrrd(temporary, array, geometry, fields)
    return path


def _read(path: Path) -> tuple[NDArray[Any], Geometry, dict[str, str]]:
    """Voxels (z, y, x), geometry and header fields of an image file, after checking its header."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        components = reader.GetNumberOfComponents()
        if components != 1:
            raise InputError(f"'{path}' has {components} values per voxel (colour or several layers); one is needed.")
        if reader.GetDimension() < 3 or any(extra != 1 for extra in size[3:]):
            shape = " × ".join(str(n) for n in size)
            raise InputError(f"'{path}' has {reader.GetDimension()} dimensions ({shape}); a 3-D volume is needed.")
        check_declared_size(path, int(np.prod([float(n) for n in size])) * _bytes_per_voxel(reader.GetPixelID()))
        image = reader.Execute()
    except FlareError:
        raise
    except (RuntimeError, MemoryError, OSError) as error:
        raise InputError(f"'{path}' cannot be read: {_why(path, str(error))}.") from None
    for _ in range(image.GetDimension() - 3):
        image = image[..., 0]
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    array = sitk.GetArrayFromImage(image)
    spacing, origin = image.GetSpacing(), image.GetOrigin()
    geometry = Geometry(
        shape_zyx=array.shape,
        spacing_zyx_mm=(spacing[2], spacing[1], spacing[0]),
        origin_xyz_mm=(origin[0], origin[1], origin[2]),
        direction=as_rows(np.reshape(image.GetDirection(), (3, 3))),
    )
    return array, geometry, fields


def _bytes_per_voxel(pixel_id: int) -> int:
    import SimpleITK as sitk

    wide = {sitk.sitkUInt8: 1, sitk.sitkInt8: 1, sitk.sitkUInt16: 2, sitk.sitkInt16: 2}
    wider = {sitk.sitkUInt64: 8, sitk.sitkInt64: 8, sitk.sitkFloat64: 8}
    return (wide | wider).get(pixel_id, 4)


def _why(path: Path, message: str) -> str:
    """The reader's complaint as one short clause."""
    lowered = message.lower()
    if path.stat().st_size == 0:
        return "the file is empty"
    if "orthonormal" in lowered:
        return "its axes are not perpendicular (sheared geometry); resample it first"
    if "spacing" in lowered:
        return "its voxel spacing is zero or negative"
    if "determinant" in lowered or "direction" in lowered:
        return "its axis directions are not valid"
    return f"it is damaged or not what its ending '{ending_of(path)}' says"
