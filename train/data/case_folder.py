"""Writing a case of the layout "cases": a folder that is whole or absent."""

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


@contextmanager
def new_case(folder: Path) -> Iterator[Path]:
    """An empty folder that becomes `folder` when the block ends well, in place of what was there.

    Raises:
        OutputError: when something cannot be written, such as on a full disk.
    """
    with atomic_folder(folder, overwrite=True) as partial:
        yield partial


def write_ct(hu_zyx: NDArray[Any], geometry: Geometry, folder: Path) -> None:
    """Write the CT of a case."""
    write_volume(Volume(hu_zyx, geometry), folder / CT)


def write_labels(labels_zyx: NDArray[Any], geometry: Geometry, path: Path) -> None:
    """Write a label map of a case: FLARE's numbers, 255 unknown."""
    write_segmentation(Segmentation(labels_zyx, geometry, structures()), path)


def write_info(info: dict[str, Any], folder: Path) -> None:
    """Write what is known about a case, as the last of its files."""
    (folder / INFO).write_text(json.dumps(info, indent=1), encoding="utf-8")


def read_info(folder: Path) -> dict[str, Any] | None:
    """What is known about the case in `folder`; None where there is none that is whole."""
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return info if isinstance(info, dict) else None


def patient_of(info: Mapping[str, Any], case: str) -> str:
    """Whose CT a case is, by its info.json ("patient" or "patient_id"); a patient of its own where that names none."""
    return str(info.get("patient") or info.get("patient_id") or case)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What goes wrong with the disk, as one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror or error}.") from None
