"""Which of FLARE's structures a label of an nnU-Net dataset.json means, whatever it is called there."""

from __future__ import annotations

import re
from typing import Any

from flareseg.errors import FlareError, ModelError
from flareseg.labels import BACKGROUND, by_name
from flareseg.text import shortened

IGNORE = "ignore"
"""nnU-Net's name for voxels that training leaves out; no network has a channel for it."""
MOST_LABELS = 256
"""Background included: label maps are bytes."""
LONGEST_NAME = 80
_SIDES = {"r": "right", "rt": "right", "right": "right", "l": "left", "lt": "left", "left": "left"}
_FILLERS = {"organ", "the", "of", "label", "ct"}
_WORDS = {
    "kidneys": "kidney",
    "adrenals": "adrenal",
    "suprarenal": "adrenal",
    "glands": "gland",
    "tumor": "tumour",
    "tumors": "tumour",
    "tumours": "tumour",
    "oesophagus": "esophagus",
    "esophageal": "esophagus",
    "pancrease": "pancreas",
    "pancreatic": "pancreas",
    "hepatic": "liver",
    "stomache": "stomach",
    "duodenal": "duodenum",
}
_SYNONYMS = {
    "liver": ("liver", "livers"),
    "right_kidney": ("right kidney", "rk", "rkidney", "kidney right"),
    "left_kidney": ("left kidney", "lk", "lkidney", "kidney left"),
    "spleen": ("spleen",),
    "pancreas": ("pancreas",),
    "aorta": ("aorta", "abdominal aorta", "ao"),
    "inferior_vena_cava": ("inferior vena cava", "ivc", "vena cava inferior", "postcava", "vena cava", "post cava"),
    "right_adrenal_gland": ("right adrenal gland", "right adrenal", "rag", "radrenal", "radrenalgland"),
    "left_adrenal_gland": ("left adrenal gland", "left adrenal", "lag", "ladrenal", "ladrenalgland"),
    "gallbladder": ("gallbladder", "gall bladder", "gb"),
    "esophagus": ("esophagus", "eso"),
    "stomach": ("stomach",),
    "duodenum": ("duodenum",),
    "tumour": ("tumour", "lesion", "lesions", "cancer", "neoplasm", "pan cancer", "pancancer", "tumour lesion"),
}
_MEANING = {frozenset(words.split()): name for name, every in _SYNONYMS.items() for words in every}


def structure_named(label: str) -> str | None:
    """The name of FLARE's structure that a label means, e.g. "kidney_left", "LK" or "Left Kidney": left_kidney.

    Spelling, word order, sides as one letter and a few synonyms do not matter; None for other structures.
    """
    plain = words_of(label)
    sided = {_SIDES.get(word, word) for word in plain}
    found = _MEANING.get(frozenset(sided)) or _MEANING.get(frozenset(plain))
    if found is None:
        try:
            found = by_name(label).name
        except FlareError:
            return None
    return found


def words_of(label: str) -> set[str]:
    """The words of a label in one spelling, without fillers: "Kidneys_tumor" has the words kidney and tumour."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label.strip())
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word and word not in _FILLERS]
    return {_WORDS.get(word, word) for word in words}


def plan_labels(labels: Any) -> dict[int, str]:
    """Output channels and their names, from the entry "labels" of a dataset.json.

    A model all of whose labels are FLARE's gets FLARE's names, and with them FLARE's numbers. Any other keeps its own
    numbers; of its labels those that FLARE has too get FLARE's names, and with them colours and codes.

    Args:
        labels: name to value (nnU-Net v2), or value to name (v1, and some by hand).

    Raises:
        ModelError: for regions, gaps in the numbers, or what is no table of labels.
    """
    if not isinstance(labels, dict) or not labels:
        raise ModelError("The model's dataset.json has no table of labels.")
    if all(key.isdecimal() and isinstance(value, str) for key, value in labels.items()):
        labels = {name: int(value) for value, name in labels.items()}
    values: dict[int, str] = {}
    for name, value in labels.items():
        if name == IGNORE:
            continue
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        if isinstance(value, list | tuple):
            raise ModelError(
                f"The model was trained on regions ('{_shown(name)}' stands for several labels), which overlap; "
                "flareseg runs models with one label a voxel."
            )
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            raise ModelError(f"The model's label '{_shown(name)}' has no number.") from None
        if number in values or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise ModelError(
                f"The model's label {_shown(number)} ('{_shown(name)}') is named twice, or has no proper name."
            )
        values[number] = name.strip()
    if sorted(values) != list(range(len(values))) or not 2 <= len(values) <= MOST_LABELS:
        raise ModelError(
            f"The model's labels are {_shown(sorted(values)[:20])}; expected 0, 1, 2, ... without gaps, up to 255."
        )
    return _named(values)


def _named(values: dict[int, str]) -> dict[int, str]:
    meanings = {value: structure_named(name) for value, name in values.items() if value}
    every = list(meanings.values())
    names = {0: BACKGROUND}
    for value in sorted(meanings):
        meaning = meanings[value]
        unique = meaning is not None and every.count(meaning) == 1
        names[value] = meaning if meaning is not None and unique else values[value]
    if len(set(names.values())) < len(names):  # e.g. another label called "background"
        raise ModelError("The model has several labels of one name.")
    return names


def _shown(text: Any) -> str:
    """A foreign name, fit for one line of a terminal."""
    return shortened(str(text), LONGEST_NAME)
