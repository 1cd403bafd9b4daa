"""From the names of a data set's labels to FLARE label values, and what a table of labels must say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flareseg.errors import InputError, UsageError
from flareseg.interop.nnunet.labels import IGNORE as IGNORE_NAME
from flareseg.interop.nnunet.labels import structure_named, words_of
from flareseg.labels import BACKGROUND, by_name, same_name
from train.common.json_files import checked_table

UNKNOWN = 255
"""Target value for labels of which it is not documented whether FLARE counts them as an organ or a tumour."""


@dataclass(frozen=True)
class Pair:
    """A structure with one label for both sides, which are then told apart by their place.

    Attributes:
        value: target value, no label value of FLARE.
        right, left: FLARE label values.
    """

    value: int
    right: int
    left: int


KIDNEYS, ADRENALS = 100, 101
PAIRS = (
    Pair(KIDNEYS, by_name("right_kidney").value, by_name("left_kidney").value),
    Pair(ADRENALS, by_name("right_adrenal_gland").value, by_name("left_adrenal_gland").value),
)
_BOTH_SIDES = {
    frozenset({"kidney"}): KIDNEYS,
    frozenset({"adrenal"}): ADRENALS,
    frozenset({"adrenal", "gland"}): ADRENALS,
}
_MISSPELT = {"arota": "aorta"}
"""AMOS22's dataset.json."""
_TUMOURS = {"tumour", "cancer", "carcinoma", "lesion", "lesions", "metastasis", "metastases", "neoplasm"}
_OUTSIDE = {"lung", "brain", "bone", "breast", "prostate", "head", "neck", "thyroid", "skin", "bladder"}
"""Tumours of these are outside the abdomen, or FLARE's data have none of them."""
_UNSURE = {"cyst", "cysts", "mass", "masses"}
_ORGANS = {
    "liver", "kidney", "spleen", "pancreas", "aorta", "adrenal", "gallbladder", "esophagus", "stomach", "duodenum",
}  # fmt: skip


def target_of(name: str) -> int:
    """What the label `name` becomes: a FLARE label value, a value of `PAIRS`, 0 or `UNKNOWN`.

    Any tumour, cancer or lesion of the abdomen is FLARE's tumour. A label that mentions an organ but means another
    thing ("kidney cyst", "pancreatic duct") is unknown: it may be a part of the organ. Other structures are 0.

    Example:
        >>> [target_of(name) for name in ("Liver", "arota", "kidney tumor", "kidneys", "kidney cyst", "bladder")]
        [1, 5, 14, 100, 255, 0]
    """
    spelt = " ".join(_MISSPELT.get(word, word) for word in name.split())
    words = words_of(spelt)
    if words == {BACKGROUND} or not words:
        return 0
    if words in ({IGNORE_NAME}, {"unknown"}):
        return UNKNOWN
    structure = structure_named(spelt)
    if structure:
        return by_name(structure).value
    if frozenset(words) in _BOTH_SIDES:
        return _BOTH_SIDES[frozenset(words)]
    if words & _TUMOURS:
        return UNKNOWN if words & _OUTSIDE else by_name("tumour").value
    return UNKNOWN if words & (_ORGANS | _UNSURE) else 0


def targets_of(names: Mapping[int, str]) -> dict[int, int]:
    """The table of a label file from its values and their names.

    Raises:
        InputError: for a value that is no byte.
    """
    for value, name in names.items():
        if not 0 <= value <= 255:
            raise InputError(f"Label values are from 0 to 255; {value} ('{name}') is none.")
    return {value: target_of(name) for value, name in names.items() if value}


def others_among(names: Mapping[int, str]) -> tuple[str, ...]:
    """The names that mean none of FLARE's structures."""
    return tuple(name for value, name in names.items() if value and not target_of(name))


def check_names(names: Mapping[int, str]) -> None:
    """Check names that a user gave: one that means nothing here may be misspelt.

    Raises:
        InputError: for a value that is no byte.
        UsageError: naming the one that is neither a structure, "background" nor "unknown".
    """
    targets_of(names)
    for name in names.values():
        if not target_of(name) and not same_name(name, BACKGROUND):
            raise UsageError(f"values: '{name}' is no structure of FLARE; write background for what is none.")


def data_sets_in(folder: Path) -> list[Path]:
    """The folder itself where it has a dataset.json, or else those in it that have one."""
    inside = sorted(path.parent for path in folder.glob("*/dataset.json"))
    return [folder] if (folder / "dataset.json").exists() else inside


def read_dataset_json(path: Path) -> dict[str, Any]:
    """The dataset.json of the Decathlon or of nnU-Net v2.

    Raises:
        InputError: when it is missing or no table.
    """
    return checked_table(path, "missing, or no valid JSON")


def names_in(about: Mapping[str, Any], path: Path) -> dict[int, str]:
    """The names of label values in a dataset.json, in either form: value -> name (Decathlon, nnU-Net v1) or name ->
    value, or values of a region (nnU-Net v2). Of the regions that hold a value, the smallest that FLARE has counts.

    Raises:
        InputError: when it has no such table; `path` is the file to name in the message.
    """
    regions: dict[str, list[int]] = {}
    try:
        labels = about["labels"]
        for key, entry in labels.items():
            if isinstance(entry, str):
                key, entry = entry, int(key)
            regions.setdefault(key, []).extend(int(value) for value in (entry if isinstance(entry, list) else [entry]))
    except (KeyError, AttributeError, TypeError, ValueError):
        raise InputError(f"'{path}' has no table of labels, value -> name or name -> value.") from None
    names = sorted(regions, key=lambda name: len(regions[name]))
    found: dict[int, str] = {}
    for value in sorted({value for values in regions.values() for value in values}):
        holding = [name for name in names if value in regions[name]]
        found[value] = holding[0]
        if target_of(holding[0]) == 0 and any(target_of(name) for name in holding[1:]):
            found[value] = "unknown"  # a part of an organ that has no name of ours
    return found
