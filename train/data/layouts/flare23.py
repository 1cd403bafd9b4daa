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
teams' pseudo-labels are present, blackbean's are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from train.config import SourceConfig
from train.data.layouts.found import ALL, FoundCase, LabelFile, folders_under, images_in

Part = Literal["image", "label", "held out", "held out label", "organs"]
_BEGINNINGS: tuple[tuple[str, Part], ...] = (
    ("imagestr", "image"),
    ("unlabel", "image"),
    ("labelstr", "label"),
    ("val-gt", "held out label"),
    ("validation", "held out"),
)


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    parts: dict[Part, dict[str, Path]] = {part: {} for part in ("organs", *(part for _, part in _BEGINNINGS))}
    for path in folders_under(folder):
        part = _part_of(path.relative_to(folder))
        if part:
            parts[part].update(images_in(path))  # deeper folders come later and take precedence
    teaching = [
        FoundCase(
            name=name,
            image=image,
            labels=(LabelFile(parts["label"][name]),) if name in parts["label"] else (),
            annotated=None if name in parts["label"] else (),
            organs=parts["organs"].get(name),
        )
        for name, image in parts["image"].items()
    ]
    held_out = [
        FoundCase(name, image, (LabelFile(parts["held out label"][name]),), ALL, split="validation")
        for name, image in parts["held out"].items()
        if name in parts["held out label"]
    ]
    return teaching + held_out


def _part_of(path: Path) -> Part | None:
    """The kind of files in a folder, from its own name or the nearest parent's that tells."""
    names = [name.lower() for name in path.parts]
    if any("pseudo" in name for name in names):
        return "organs"
    for name in reversed(names):
        for beginning, part in _BEGINNINGS:
            if name.startswith(beginning):
                return part
    return None
