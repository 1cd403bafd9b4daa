"""A case as a data set has it, before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flareseg.io.files import IMAGE_ENDINGS, ending_of
from flareseg.labels import structures

KIDNEYS = 100
"""In a table of values: both kidneys as one label, to be separated by side."""
ALL = tuple(structure.value for structure in structures())


@dataclass(frozen=True)
class LabelFile:
    """A label map and what its values mean: own value -> FLARE's; None where they are FLARE's already.

    Values that the table does not name are background, 255 stays unknown.
    """

    path: Path
    values: dict[int, int] | None = None


@dataclass(frozen=True)
class FoundCase:
    """One CT of a data set.

    Attributes:
        name: within the data set.
        image: file.
        labels: label maps, later ones over earlier ones; none where there are no labels.
        covered: values that the labels annotate; None: those that occur.
        organs: label map of organ pseudo-labels in FLARE's numbers.
        split: where the data set decides.
        licence: where the data set, or the case's own files, state one.
        patient: whose CT it is, where one patient may have several cases; empty: a patient of its own.
        problem: why the case cannot be used, if that is clear already.
    """

    name: str
    image: Path
    labels: tuple[LabelFile, ...] = ()
    covered: tuple[int, ...] | None = None
    organs: Path | None = None
    split: Literal["train", "validation"] | None = None
    licence: str = ""
    patient: str = ""
    problem: str = ""


def images_in(folder: Path) -> dict[str, Path]:
    """Image files directly in a folder by name without ending, and without nnU-Net's channel number "_0000".

    Hidden files are left out, such as the "._" files that macOS adds to archives.
    """
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ending = ending_of(path)
        if path.is_file() and ending in IMAGE_ENDINGS and not path.name.startswith("."):
            found[path.name[: -len(ending)].removesuffix("_0000")] = path
    return found


def folders_under(folder: Path) -> Iterator[Path]:
    """Every folder below `folder`, however deep, those that are hidden left out; parents before their folders."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "__MACOSX")):
            yield path
            yield from folders_under(path)
