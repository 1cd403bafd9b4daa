"""The index: every case of every source, what its labels really annotate, and whether it trains or validates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.labels import by_name, by_names, structures
from flareseg.volume import Index, Triple
from train.common.json_files import write_json

FORMAT = 1
CLASSES = len(structures()) + 1
TUMOUR = by_name("tumour").value
IGNORE = 255
"""Label value of voxels about which nothing is known."""
Split = Literal["train", "validation"]


@dataclass(frozen=True)
class IndexedCase:
    """One CT and what is known about it.

    Attributes:
        name: unique, fit for a file name; begins with the source's.
        source: name of the data set.
        image: file or DICOM folder.
        labels: label map on the image's grid, FLARE's numbers, 255 unknown; None: no labels.
        covered: structures that `labels` annotates. A structure that is not covered is unknown where `labels` is 0.
        occurring: covered structures that have a voxel.
        organs: label map of organ pseudo-labels that the source brings, or None.
        split: what the case is for.
        shape_zyx, spacing_zyx_mm: of the image, as stored.
        licence: of the source, where it says one.
        patient: whose CT it is, the case's own name unless given; a case is left out together with its patient.
    """

    name: str
    source: str
    image: Path
    labels: Path | None
    covered: tuple[str, ...] = ()
    occurring: tuple[str, ...] = ()
    organs: Path | None = None
    split: Split = "train"
    shape_zyx: Index = (0, 0, 0)
    spacing_zyx_mm: Triple = (0.0, 0.0, 0.0)
    licence: str = ""
    patient: str = ""

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.name)

    @property
    def has_tumour(self) -> bool:
        """Whether the ground truth shows a tumour: one of the paper's 735 cases."""
        return "tumour" in self.occurring

    @property
    def known(self) -> NDArray[np.bool_]:
        """Per class: whether `labels` annotates it (the background always)."""
        return known_mask(self.covered)


@dataclass(frozen=True)
class CaseIndex:
    """All cases of a run, by name, and those that were refused with the reason."""

    cases: tuple[IndexedCase, ...]
    refused: dict[str, str] = field(default_factory=dict)

    def split(self, split: Split) -> tuple[IndexedCase, ...]:
        """The cases for one purpose."""
        return tuple(case for case in self.cases if case.split == split)

    def of(self, name: str) -> IndexedCase:
        """The case called `name`."""
        for case in self.cases:
            if case.name == name:
                return case
        raise InputError(f"The index has no case '{name}'.")


def known_mask(names: Iterable[str]) -> NDArray[np.bool_]:
    """Bool per class, true for the background and the structures `names`."""
    known = np.zeros(CLASSES, bool)
    known[[0, *(structure.value for structure in by_names(names))]] = True
    return known


def write_index(index: CaseIndex, path: Path) -> None:
    """Write the index as JSON, whole or not at all."""
    data = {
        "format": FORMAT,
        "cases": [asdict(case) for case in index.cases],
        "refused": index.refused,
    }
    write_json(path, data)


def read_index(path: Path) -> CaseIndex:
    """Read what `write_index` wrote.

    Raises:
        InputError: when it is not there or is of another format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise InputError(f"The index '{path}' is of format {data['format']}; run the stage 'prepare' again.")
        cases = tuple(_case(entry) for entry in data["cases"])
    except OSError:
        raise InputError(f"There is no index '{path}'; run the stage 'prepare' first.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"The index '{path}' is damaged ({error}); run the stage 'prepare' again.") from None
    return CaseIndex(cases, dict(data.get("refused", {})))


def _case(entry: dict[str, Any]) -> IndexedCase:
    paths: Sequence[str] = ("image", "labels", "organs")
    lists: Sequence[str] = ("covered", "occurring", "shape_zyx", "spacing_zyx_mm")
    values: dict[str, Any] = dict(entry)
    values |= {key: Path(entry[key]) for key in paths if entry[key] is not None}
    values |= {key: tuple(entry[key]) for key in lists}
    return IndexedCase(**values)
