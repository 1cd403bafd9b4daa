"""CTs and label maps in files: NIfTI, NRRD, MetaImage and DICOM in; what `writers` lists out. And how files are called.

DICOM is read by `dicom/`, through the same `read_volume`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError, UsageError
from flareseg.io import pairs
from flareseg.io.atomic import atomic_path
from flareseg.io.opening import is_folder, reading
from flareseg.io.validation import as_hu, check_grid, check_is_ct
from flareseg.io.writers import WRITERS, endings_for, writer_of
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

IMAGE_ENDINGS = (".nii.gz", ".nii", ".hdr", ".hdr.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Of files that may hold a CT; of two files that belong together, of the one that says so."""
SEGMENTS_ENDING, LABELS_ENDING = ".seg.nrrd", ".labels.nrrd"
LABEL_ENDINGS = tuple(one.ending for one in WRITERS if "segmentation" in one.holds and not one.is_dicom)
"""Of the segmentations that can be written, and read again."""
RESULT_ENDINGS = tuple(ending for ending in LABEL_ENDINGS if ending not in endings_for("volume"))
"""Of files that are results wherever they lie, never CTs."""
_READABLE = sorted({*IMAGE_ENDINGS, SEGMENTS_ENDING, LABELS_ENDING, *pairs.VOXELS}, key=len, reverse=True)
_ENDINGS = sorted({*_READABLE, *LABEL_ENDINGS}, key=len, reverse=True)
DICOM_ENDINGS = (".dcm", ".dicom", ".ima", ".zip")
_PACKED = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
NAMELESS = "CT"
RESULT_SUFFIX = "_flareseg"
"""How the names of results end that are written without a folder of their own."""
CHANNEL = "_0000"
"""How nnU-Net ends the names of images."""


def ending_of(path: Path | str) -> str:
    """Which of the known endings `path` has, the longest that fits, in lower case; "" for none."""
    name = Path(path).name.lower()
    return next((ending for ending in _ENDINGS if name.endswith(ending)), "")


def case_name(path: Path) -> str:
    """The file's name without its ending; never empty, "." or ".."."""
    ending = ending_of(path) or next((e for e in DICOM_ENDINGS if path.name.lower().endswith(e)), "")
    name = path.name[: -len(ending)] if ending else path.name
    return name if name.strip(".") else NAMELESS + name.replace(".", "_")


def is_result(path: Path) -> bool:
    """Whether a file is a result of flareseg by its name alone."""
    return ending_of(path) in RESULT_ENDINGS or case_name(path).endswith(RESULT_SUFFIX)


def read_volume(
    path: Path | str, *, force: bool = False, series: str | None = None, foreign_files: bool = False
) -> Volume:
    """Read a CT.

    Args:
        path: a file (.nii, .nii.gz, .hdr with .img, .nrrd, .nhdr, .mha, .mhd), a DICOM folder, a DICOMDIR, a zip of
            DICOM files, or one file of a DICOM series.
        force: accept what does not look like a CT; NaN becomes air.
        series: number or UID of the DICOM series, where the folder holds several; with a point and a number, one of
            its acquisitions (`4.3`).
        foreign_files: read voxels from any file that a header names, not only from those beside it or below.

    Returns:
        HU on the file's own grid, int16 unless the file holds fractions. (A DICOM series with gantry tilt comes on
        an upright grid, which `Volume.notes` tells.)

    Raises:
        InputError: when it is missing, damaged, no volume, or no CT.
        UsageError: when `series` is given for what is not DICOM.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> hu = np.full((4, 8, 6), -1000, np.int16)
        >>> hu[1:3, 2:6, 2:4] = 40
        >>> with TemporaryDirectory() as folder:
        ...     path = write_volume(Volume(hu, Geometry((4, 8, 6), (5.0, 2.0, 2.0))), f"{folder}/anna.nii.gz")
        ...     ct = read_volume(path)
        >>> ct.name, ct.hu.shape, ct.geometry.spacing_zyx_mm
        ('anna', (4, 8, 6), (5.0, 2.0, 2.0))
    """
    path = Path(path)
    folder = is_folder(path)
    with reading(path):
        file = None if folder else _image_file(path)
        if file is None:
            volume = _read_dicom(path, force, series)
        else:
            if series is not None:
                raise UsageError(f"--series picks a series of a DICOM folder, and '{path}' is none.")
            volume = _read_image_file(file, force, foreign_files)
        check_grid(path, volume.geometry.shape_zyx, volume.geometry.spacing_zyx_mm)
        if not force:
            check_is_ct(path, volume.hu)
    return volume


def read_labels(path: Path | str, *, foreign_files: bool = False) -> tuple[NDArray[np.uint8], Geometry]:
    """Read a label map, (z, y, x); the segments of a .seg.nrrd get the values of the structures they are named after.

    Example:
        >>> import numpy as np
        >>> from flareseg import Geometry, Segmentation, read_labels, write_segmentation
        >>> from flareseg.labels import by_names
        >>> labels = np.zeros((4, 6, 8), np.uint8)
        >>> labels[1:3, 2:4, 2:4] = 3
        >>> spleen = Segmentation(labels, Geometry((4, 6, 8), (5.0, 2.0, 2.0)), by_names(["spleen"]))
        >>> path = write_segmentation(spleen, "spleen.seg.nrrd")
        >>> again, geometry = read_labels(path)
        >>> np.array_equal(again, labels), geometry.spacing_zyx_mm
        (True, (5.0, 2.0, 2.0))

    Raises:
        InputError: when it is missing, damaged, or holds values that are no labels.
    """
    from flareseg.io.image import read_image
    from flareseg.io.seg_nrrd import labels_of_segments

    path = Path(path)
    folder = is_folder(path)
    with reading(path):
        file = None if folder else _image_file(path)
        if file is None:
            raise InputError(f"'{path}' is no label map that can be read; known are {', '.join(_READABLE)}.")
        image = read_image(file, layers=ending_of(file) == SEGMENTS_ENDING, foreign_files=foreign_files)
        values: NDArray[Any] = image.stored
        if (image.slope, image.intercept) != (1.0, 0.0):
            values = as_hu(path, values, image.slope, image.intercept)
        return labels_of_segments(values, image.fields, str(path)), image.geometry


def write_segmentation(segmentation: Segmentation, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a segmentation, whole or not at all; the same segmentation gives the same bytes.

    Args:
        segmentation: what to write.
        path: ends in .nii.gz, .nii or .nrrd (a label map), .seg.nrrd (Slicer's segmentation: names, colours,
            terminology, only the structures that are present), or .dcm (a DICOM segmentation, which refers to the
            images of the CT; its UIDs are new ones each time).
        overwrite: replace an existing file.

    Raises:
        OutputError: when it exists and `overwrite` is not set, or cannot be written.
        InputError: for .dcm, when the CT does not come from DICOM images that say what is needed.
        UsageError: for another ending, or for .dcm without the package highdicom.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from flareseg.labels import by_name
        >>> liver = by_name("liver")
        >>> labels = np.zeros((4, 8, 6), np.uint8)
        >>> labels[1:3, 2:6, 2:4] = liver.value
        >>> result = Segmentation(labels, Geometry((4, 8, 6), (5.0, 2.0, 2.0)), (liver,))
        >>> with TemporaryDirectory() as folder:
        ...     path = write_segmentation(result, f"{folder}/anna.seg.nrrd")  # Slicer shows names and colours
        ...     again, _ = read_labels(path)
        >>> bool((again == labels).all())
        True
    """
    return _write(segmentation, Path(path), overwrite)


def write_volume(volume: Volume, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a CT as .nii.gz, .nii or .nrrd; raises as `write_segmentation`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> ct = Volume(np.full((4, 8, 6), -1000, np.int16), Geometry((4, 8, 6), (5.0, 2.0, 2.0)))
        >>> with TemporaryDirectory() as folder:
        ...     write_volume(ct, f"{folder}/ct.nrrd").name
        'ct.nrrd'
    """
    return _write(volume, Path(path), overwrite)


def _write(image: Volume | Segmentation, path: Path, overwrite: bool) -> Path:
    known = endings_for("volume" if isinstance(image, Volume) else "segmentation")
    writer = writer_of(path)
    if writer is None:
        raise UsageError(f"'{path.name}' cannot be written; name a file that ends in {', '.join(known)}.")
    if writer.ending not in known:
        what = "a CT" if isinstance(image, Volume) else "a segmentation"
        raise UsageError(f"'{path.name}' would not hold {what}; name a file that ends in {', '.join(known)}.")
    with atomic_path(path, overwrite=overwrite) as temporary:
        writer.write(temporary, image)
    return path


def _image_file(path: Path) -> Path | None:
    """The file to begin with: of a pair, the header. None where `path` is no image file, hence perhaps DICOM."""
    if ending_of(path) in pairs.VOXELS:
        return pairs.header_of(path)
    return path if ending_of(path) in _READABLE else None


def _read_image_file(path: Path, force: bool, foreign_files: bool) -> Volume:
    from flareseg.io.image import read_image

    image = read_image(path, force=force, foreign_files=foreign_files)
    check_grid(path, image.geometry.shape_zyx, image.geometry.spacing_zyx_mm)
    hu = as_hu(path, image.stored, image.slope, image.intercept, force=force)
    return Volume(hu, image.geometry, path.name[: -len(ending_of(path))], image.notes)


def _read_dicom(path: Path, force: bool, series: str | None) -> Volume:
    from flareseg.io.dicom import is_container, read_dicom, series_uid

    if path.is_dir() or is_container(path):
        return read_dicom(path, force=force, series=series)
    uid = series_uid(path)
    if uid is None:
        path.open("rb").close()  # may it be read at all?
        if path.suffix.lower() == ".zip":
            raise InputError(f"'{path}' is no zip that can be read; copy or download it again.")
        if path.suffix.lower() in _PACKED:
            raise InputError(f"'{path}' is packed; unpack it first.")
        raise InputError(f"'{path}' is no CT that can be read; known are {', '.join(IMAGE_ENDINGS)} and DICOM.")
    volume = read_dicom(path.parent, force=force, series=uid)
    return replace(volume, name=path.stem)
