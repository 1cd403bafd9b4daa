"""The index: every case of every source, what its labels annotate, and its split (training or validation)."""

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
"""Ignore label: the class of these voxels is unknown."""
Split = Literal["train", "validation"]


@dataclass(frozen=True)
class IndexedCase:
    """One CT and its metadata.

    Attributes:
        name: unique, valid as a file name; starts with the name of the source.
        source: name of the data set.
        image: file or DICOM folder.
        labels: label map on the image's grid, FLARE's numbers, 255 unknown; None: no labels.
        annotated: structures that `labels` annotates. Where `labels` is 0, any other structure is unknown.
        occurring: structures with at least one voxel; one that is not annotated is drawn in part.
        organs: label map of the organ pseudo-labels that come with the source, or None.
        split: training or validation.
        shape_zyx, spacing_zyx_mm: of the image, as stored.
        licence: of the source, where it states one.
        patient: patient ID, by default the name of the case; all cases of a patient are left out together.
    """

    name: str
    source: str
    image: Path
    labels: Path | None
    annotated: tuple[str, ...] = ()
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
        """Whether the ground truth contains a tumour, as in the 735 tumour cases of the paper."""
        return "tumour" in self.occurring

    @property
    def in_part(self) -> tuple[str, ...]:
        """Structures of which some are drawn, and others perhaps not."""
        return tuple(name for name in self.occurring if name not in self.annotated)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Per class: whether `labels` annotates it (the background always)."""
        return known_mask(self.annotated)


@dataclass(frozen=True)
class CaseIndex:
    """All cases of a run, sorted by name, and the rejected ones with the reason."""

    cases: tuple[IndexedCase, ...]
    refused: dict[str, str] = field(default_factory=dict)

    def split(self, split: Split) -> tuple[IndexedCase, ...]:
        """The cases of one split."""
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
        InputError: when it is missing, damaged or has another format.
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


def with_current_keys(entry: dict[str, Any]) -> dict[str, Any]:
    """A case as JSON, with today's keys: in earlier index files `annotated` was called "covered"."""
    return {"annotated" if key == "covered" else key: value for key, value in entry.items()}


def _case(entry: dict[str, Any]) -> IndexedCase:
    paths: Sequence[str] = ("image", "labels", "organs")
    lists: Sequence[str] = ("annotated", "occurring", "shape_zyx", "spacing_zyx_mm")
    values = with_current_keys(entry)
    values |= {key: Path(values[key]) for key in paths if values[key] is not None}
    values |= {key: tuple(values[key]) for key in lists}
    return IndexedCase(**values)
