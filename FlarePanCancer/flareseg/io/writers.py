"""The formats that can be written: one row for each.

A new format is a file with its function, and a row here; `files`, the search for cases and the command line follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from flareseg.io.nifti import write_nifti
from flareseg.io.nrrd import write_nrrd
from flareseg.io.seg_nrrd import write_seg_nrrd
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume


@dataclass(frozen=True)
class Writer:
    """One format.

    Attributes:
        ending: of its files, with the dot, in lower case.
        write: writes what it `holds` to a path that has this ending; it does nothing but write, and raises OSError
            where that fails. The same content gives the same bytes.
        holds: what can be written; a format without `Volume` is known as a result wherever CTs are looked for.
    """

    ending: str
    write: Callable[[Path, Any], None]
    holds: tuple[type[Volume] | type[Segmentation], ...] = (Volume, Segmentation)


def _voxels(image: Volume | Segmentation) -> NDArray[Any]:
    return image.labels if isinstance(image, Segmentation) else image.hu


WRITERS = (
    Writer(".nii.gz", lambda path, image: write_nifti(path, _voxels(image), image.geometry, compressed=True)),
    Writer(".nii", lambda path, image: write_nifti(path, _voxels(image), image.geometry, compressed=False)),
    Writer(".seg.nrrd", lambda path, image: write_seg_nrrd(path, image), holds=(Segmentation,)),
    Writer(".nrrd", lambda path, image: write_nrrd(path, _voxels(image), image.geometry, {})),
)


def endings_for(kind: type[Volume] | type[Segmentation]) -> tuple[str, ...]:
    """The endings of the formats that can hold a `kind`."""
    return tuple(writer.ending for writer in WRITERS if kind in writer.holds)
