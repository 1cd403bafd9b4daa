"""The formats that can be written: one row for each.

A new format is a file with its function, and a row here; `files`, the search for cases and the command line follow.
Formats are imported when something is written, because whoever asks for an ending loads this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from flareseg.segmentation import Segmentation
    from flareseg.volume import Volume

Kind = Literal["volume", "segmentation"]
"""Names instead of the classes, so that the command line can list the endings without loading NumPy."""


@dataclass(frozen=True)
class Writer:
    """One format.

    Attributes:
        ending: of its files, with the dot, in lower case.
        write: writes what it `holds` to a path that has this ending; it does nothing but write, and raises OSError
            where that fails. The same content gives the same bytes, unless it is DICOM.
        holds: what can be written; a format without "volume" is known as a result wherever CTs are looked for, unless
            it is DICOM.
        is_dicom: whether it is written only for CTs from DICOM, to whose images it refers, with new UIDs at every call.
            CTs have this ending too, so that it makes no file a result.
    """

    ending: str
    write: Callable[[Path, Any], None]
    holds: tuple[Kind, ...] = ("volume", "segmentation")
    is_dicom: bool = False


def _voxels(image: Volume | Segmentation) -> NDArray[Any]:
    from flareseg.segmentation import Segmentation

    return image.labels if isinstance(image, Segmentation) else image.hu


def _nifti(path: Path, image: Volume | Segmentation) -> None:
    from flareseg.io.nifti import write_nifti

    write_nifti(path, _voxels(image), image.geometry, compressed=path.suffix.lower() == ".gz")


def _nrrd(path: Path, image: Volume | Segmentation) -> None:
    from flareseg.io.nrrd import write_nrrd

    write_nrrd(path, _voxels(image), image.geometry, {})


def _seg_nrrd(path: Path, image: Segmentation) -> None:
    from flareseg.io.seg_nrrd import write_seg_nrrd

    write_seg_nrrd(path, image)


def _labels_nrrd(path: Path, image: Segmentation) -> None:
    from flareseg.io.labels_nrrd import write_labels_nrrd

    write_labels_nrrd(path, image)


def _dicom_seg(path: Path, image: Segmentation) -> None:
    from flareseg.io.dicom_results.seg import write_seg

    write_seg(path, image)


WRITERS = (
    Writer(".nii.gz", _nifti),
    Writer(".nii", _nifti),
    Writer(".seg.nrrd", _seg_nrrd, holds=("segmentation",)),
    Writer(".labels.nrrd", _labels_nrrd, holds=("segmentation",)),
    Writer(".nrrd", _nrrd),
    Writer(".dcm", _dicom_seg, holds=("segmentation",), is_dicom=True),
)


def endings_for(kind: Kind) -> tuple[str, ...]:
    """The endings of the formats that can hold a CT or a label map."""
    return tuple(writer.ending for writer in WRITERS if kind in writer.holds)


def writer_of(path: Path) -> Writer | None:
    """The format that a file's name asks for, by the longest ending that fits; None where it asks for none."""
    fitting = [writer for writer in WRITERS if path.name.lower().endswith(writer.ending)]
    return max(fitting, key=lambda writer: len(writer.ending), default=None)


def is_dicom_result(path: Path) -> bool:
    """Whether a result of this name is DICOM."""
    writer = writer_of(path)
    return writer is not None and writer.is_dicom
