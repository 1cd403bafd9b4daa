"""A case of a data set before any image is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flareseg.io.files import IMAGE_ENDINGS, ending_of
from flareseg.labels import structures

KIDNEYS = 100
"""Target value for label maps with one label for both kidneys, which are then split by side."""
ALL = tuple(structure.value for structure in structures())


@dataclass(frozen=True)
class LabelFile:
    """A label map and the table from its values to FLARE label values; None: they are FLARE's already.

    Values missing from the table become background; 255 stays unknown.
    """

    path: Path
    values: dict[int, int] | None = None


@dataclass(frozen=True)
class FoundCase:
    """One CT of a data set.

    Attributes:
        name: within the data set.
        image: file.
        labels: label maps, later ones overwrite earlier ones; empty if unlabelled.
        annotated: annotated label values; None: those that occur.
        organs: label map of organ pseudo-labels, FLARE label values.
        split: as defined by the data set, or None.
        licence: as stated by the data set or the case, or empty.
        patient: patient ID if a patient may have several cases; empty: one case per patient.
        problem: why the case cannot be used, if already known.
    """

    name: str
    image: Path
    labels: tuple[LabelFile, ...] = ()
    annotated: tuple[int, ...] | None = None
    organs: Path | None = None
    split: Literal["train", "validation"] | None = None
    licence: str = ""
    patient: str = ""
    problem: str = ""


def images_in(folder: Path) -> dict[str, Path]:
    """Image files directly in a folder, keyed by name without file ending and without nnU-Net's channel suffix "_0000".

    Hidden files are skipped, such as the "._" files that macOS adds to archives.
    """
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ending = ending_of(path)
        if path.is_file() and ending in IMAGE_ENDINGS and not path.name.startswith("."):
            found[path.name[: -len(ending)].removesuffix("_0000")] = path
    return found


def folders_under(folder: Path) -> Iterator[Path]:
    """All folders below `folder`, recursively and without hidden ones; parents before their subfolders."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "__MACOSX")):
            yield path
            yield from folders_under(path)
