"""FLARE 2023, with its archives unpacked side by side or nested at any depth:

imagesTr2200/FLARE23_0001_0000.nii.gz           2,200 CTs
labelsTr2200/FLARE23_0001.nii.gz                FLARE's numbers, annotated in part; a folder in it, such as
                                                20230507-fix, holds corrected label maps
unlabelTr1800/ or unlabeledTr1800/              1,800 CTs
validation/FLARE23Ts_0001_0000.nii.gz           100 CTs
val-gt-50cases-for-sanity-check/                the labels of 50 of them, with all structures
aladdin5-pseudo-labels-FLARE23/ and blackbean-pseudo-labels-FLARE23/, with or without subfolders for the two parts of
                                                the training set: organ pseudo-labels of two teams

Which structures are annotated in labelsTr2200 is not documented: those that occur in a case count as annotated. If both
teams' pseudo-labels are present, blackbean's are used. Later editions have layouts of their own (flare_laptop.py,
flare_pancancer.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from flareseg.io.files import CHANNEL, ending_of
from train.config import SourceConfig
from train.data.layouts.found import ALL, FoundCase, Pairing, folders_under, images_in

Part = Literal["image", "label", "held out", "held out label", "organs"]
TEAMS = ("aladdin5", "blackbean")
"""Whose pseudo-labels there are; those of the last are preferred."""
_BEGINNINGS: tuple[tuple[str, Part], ...] = (
    ("imagestr", "image"),
    ("unlabel", "image"),
    ("labelstr", "label"),
    ("val-gt", "held out label"),
    ("validation", "held out"),
)


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    parts: dict[Part, dict[str, Path]] = {part: {} for part in ("organs", *(part for _, part in _BEGINNINGS))}
    guesses: list[tuple[str, Path]] = []
    for path in folders_under(folder):
        inside = path.relative_to(folder)
        part = _part_of(inside)
        files = images_in(path)
        if part == "organs" or "pseudo" in str(inside).lower():
            labels = files if part == "organs" else {name: file for name, file in files.items() if not _is_ct(file)}
            guesses += labels.items()
            files = {name: file for name, file in files.items() if name not in labels}
        if part:
            parts[part].update(files)  # deeper folders come later and take precedence
    organs = preferred(guesses)
    teaching = Pairing(None, None).cases(parts["image"], parts["label"])
    held_out = Pairing(None, ALL, split="validation").cases(parts["held out"], parts["held out label"])
    return [replace(case, organs=organs.get(case.name)) for case in teaching] + only_labelled(held_out)


def preferred(guesses: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """One pseudo-label map for each case of `guesses` (case and file): that of the preferred team."""
    found: dict[str, tuple[int, Path]] = {}
    for name, path in guesses:
        lower = str(path).lower()
        rank = max((number for number, team in enumerate(TEAMS, 1) if team in lower), default=0)
        if rank >= found.get(name, (0, path))[0]:
            found[name] = rank, path
    return {name: path for name, (_, path) in found.items()}


def only_labelled(cases: Iterable[FoundCase]) -> list[FoundCase]:
    """The cases of a validation set; those without labels, which are kept for the challenge, are left out."""
    reason = "a CT of the validation set without public labels"
    return [case if case.labels or case.left_out else replace(case, left_out=reason) for case in cases]


def _is_ct(path: Path) -> bool:
    """Whether a file is a CT by its name, where its folder does not tell."""
    return path.name[: -len(ending_of(path))].endswith(CHANNEL)


def _part_of(path: Path) -> Part | None:
    """The kind of files in a folder, from its own name or the nearest parent's that tells.

    The folder train_pseudo_label of later editions holds CTs in imagesTr: what is nearest counts, not any "pseudo".
    """
    for name in reversed([name.lower() for name in path.parts]):
        if "pseudo" in name:
            return "organs"
        for beginning, part in _BEGINNINGS:
            if name.startswith(beginning):
                return part
    return None
