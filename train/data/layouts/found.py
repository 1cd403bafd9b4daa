"""A case of a data set before any image is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flareseg.io.files import IMAGE_ENDINGS, ending_of
from flareseg.labels import structures
from train.data.layouts.names import PAIRS, others_among, targets_of

ALL = tuple(structure.value for structure in structures())
WITHOUT_CT = "a label map without its CT"


@dataclass(frozen=True)
class LabelFile:
    """A label map and the table from its values to FLARE label values; None: they are FLARE's already.

    The table lists every value of the file but 0 and 255: 0 stands for a structure that FLARE does not have, 255 for
    voxels of which nothing is known, and those of `names.PAIRS` for the left and right one together.
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
        searched: label values that count as annotated besides, also where they do not occur and without any label map.
        in_part: label values of structures of which not all are drawn, as the case's own files say.
        organs: label map of organ pseudo-labels, FLARE label values.
        split: as defined by the data set, or None.
        licence: as stated by the data set or the case, or empty.
        patient: patient ID if a patient may have several cases; empty: one case per patient.
        problem: why the case cannot be used, if already known.
        blank_headers: label maps may have a placeholder for a header, and then lie as their CT does; a CT with one is
            of no use, as nobody knows its size.
        others: names of labels that are none of FLARE's structures, where the data set gives names.
        left_out: why the case is no part of the training data, such as an MR; it is counted, not refused.
    """

    name: str
    image: Path
    labels: tuple[LabelFile, ...] = ()
    annotated: tuple[int, ...] | None = None
    searched: tuple[int, ...] = ()
    in_part: tuple[int, ...] = ()
    organs: Path | None = None
    split: Literal["train", "validation"] | None = None
    licence: str = ""
    patient: str = ""
    problem: str = ""
    blank_headers: bool = False
    others: tuple[str, ...] = ()
    left_out: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the case."""
        return (self.image, *(label.path for label in self.labels), *([self.organs] if self.organs else []))


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
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith((".", "__MACOSX")):
            yield path
            yield from folders_under(path)


def annotated_by(targets: Collection[int]) -> tuple[int, ...]:
    """FLARE label values that a table of label values annotates, in ascending order."""
    both = [side for pair in PAIRS if pair.value in targets for side in (pair.right, pair.left)]
    return tuple(sorted({value for value in targets if value in ALL} | set(both)))


@dataclass(frozen=True)
class Pairing:
    """What the cases of a pair of folders, or of one data set, have in common; the attributes are those of the case."""

    values: dict[int, int] | None
    annotated: tuple[int, ...] | None
    licence: str = ""
    split: Literal["train", "validation"] | None = None
    others: tuple[str, ...] = ()

    @classmethod
    def named(cls, names: Mapping[int, str], licence: str = "") -> Pairing:
        """Of label maps that annotate all that `names`, the names of their values, mean."""
        values = targets_of(names)
        return cls(values, annotated_by(values.values()), licence, others=others_among(names))

    def cases(self, images: Mapping[str, Path], maps: Mapping[str, Path]) -> list[FoundCase]:
        """The cases, matched by name: CTs without a label map are unlabelled; label maps without a CT are left out."""
        found = []
        for name, image in images.items():
            if name in maps:
                files = (LabelFile(maps[name], self.values),)
                case = FoundCase(name, image, files, self.annotated, licence=self.licence)
                found.append(replace(case, split=self.split, others=self.others))
            else:
                found.append(FoundCase(name, image, (), (), licence=self.licence))
        return found + [FoundCase(name, path, left_out=WITHOUT_CT) for name, path in maps.items() if name not in images]
