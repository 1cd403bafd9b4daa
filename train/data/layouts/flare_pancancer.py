"""FLARE's pan-cancer task, task 1 from 2024 on (huggingface.co/datasets/FLARE-MedFM/FLARE-Task1-Pancancer, from 2026
PancancerCTSeg), at any depth:

train_label/imagesTr_part1/NAME_0000.nii.gz, train_label/labelsTr_part1/NAME.nii.gz, and so part2; or a folder for each
            data set that the CTs come from, and labelsTr (2024: Train-Labeled)
train_unlabel/ (2024: Train-Unlabeled)                               CTs
validation/Validation-Public-Images and Validation-Public-Labels     50 CTs (2024: lesion-images, lesion-gts)
validation/Validation-Hidden-Images                                  without public labels, left out
validation/HealthyImages-noLesion                                    CTs without any tumour

1 is a lesion of any kind, in the chest and elsewhere too; organs are not annotated. Of a training case the primary
lesion is drawn, others may not be. A label map with other numbers is refused unless `values` of the source names them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from train.config import SourceConfig
from train.data.layouts.flare23 import only_labelled
from train.data.layouts.found import FoundCase, Pairing, folders_under, images_in
from train.data.layouts.names import target_of

Part = Literal["train", "unlabelled", "held out", "healthy"]
_BEGINNINGS: tuple[tuple[str, Part], ...] = (
    ("healthyimages", "healthy"),
    ("train_label", "train"),
    ("train_unlabel", "unlabelled"),
    ("validation", "held out"),
)


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    images: dict[Part, dict[str, Path]] = {part: {} for _, part in _BEGINNINGS}
    maps: dict[Part, dict[str, Path]] = {part: {} for _, part in _BEGINNINGS}
    for path in folders_under(folder):
        part, has_labels = _part_of(path.relative_to(folder))
        if part:
            (maps if has_labels else images)[part].update(images_in(path))
    common = Pairing.named({1: "tumour"} | source.values, "CC BY-NC 4.0")
    validation = replace(common, split="validation")
    healthy = validation.cases(images["healthy"], {})
    tumour = target_of("tumour")
    return [
        *common.cases(images["train"], maps["train"]),
        *common.cases(images["unlabelled"], maps["unlabelled"]),
        *only_labelled(validation.cases(images["held out"], maps["held out"])),
        *(replace(case, searched=(tumour,), split="validation") for case in healthy),
    ]


def _part_of(path: Path) -> tuple[Part | None, bool]:
    """Which part of the data a folder belongs to, by the nearest name that tells, and whether it holds label maps."""
    own = path.name.lower()
    for name in reversed([name.lower().replace("-", "_") for name in path.parts]):
        for beginning, part in _BEGINNINGS:
            if name.startswith(beginning):
                return part, "labels" in own or own.endswith("-gts")
    return None, False
