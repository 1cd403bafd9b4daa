"""Writing a case of the layout "cases": the folder is complete or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from flareseg.errors import OutputError
from flareseg.io.atomic import atomic_folder
from flareseg.io.files import write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

CT, TRUTH, ORGANS, INFO = "ct.nii.gz", "seg.nii.gz", "organs.nii.gz", "info.json"
LESIONS = "lesions.nii.gz"


@contextmanager
def new_case(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces `folder` when the block ends without an error.

    Raises:
        OutputError: when something cannot be written, such as on a full disk.
    """
    with atomic_folder(folder, overwrite=True) as partial:
        yield partial


def write_ct(hu_zyx: NDArray[Any], geometry: Geometry, folder: Path) -> None:
    """Write the CT of a case."""
    write_volume(Volume(hu_zyx, geometry), folder / CT)


def write_labels(labels_zyx: NDArray[Any], geometry: Geometry, path: Path) -> None:
    """Write a label map of a case: FLARE label values, 255 unknown."""
    write_segmentation(Segmentation(labels_zyx, geometry, structures()), path)


def write_info(info: dict[str, Any], folder: Path) -> None:
    """Write the metadata of a case (info.json), as the last of its files."""
    (folder / INFO).write_text(json.dumps(info, indent=1), encoding="utf-8")


def read_info(folder: Path) -> dict[str, Any] | None:
    """The metadata (info.json) of the case in `folder`; None if it is missing or damaged."""
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return info if isinstance(info, dict) else None


def patient_of(info: Mapping[str, Any], case: str) -> str:
    """The patient of a case from its info.json ("patient" or "patient_id"), or else the name of the case."""
    return str(info.get("patient") or info.get("patient_id") or case)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn OSError into a one-line OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}.") from None
