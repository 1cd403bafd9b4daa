"""FLARE's organs on a laptop, task 2 from 2024 on (huggingface.co/datasets/FLARE-MedFM/FLARE-Task2-LaptopSeg):

train_gt_label/imagesTr/FLARE22_Tr_0001_0000.nii.gz, train_gt_label/labelsTr/   50 CTs with all 13 organs
train_pseudo_label/imagesTr/Case_00001_0000.nii.gz                              2,000 CTs, and beside them the organ
                 pseudo-labels of two teams, unpacked from pseudo_label_aladdin5_flare22.7z (to flare22_aladdin5_pseudo)
                 and pseudo_label_blackbean_flare22.zip; blackbean's are preferred
coreset_train_50_random/                                                        50 of these CTs again
validation/Validation-Public-Images and Validation-Public-Labels                50 CTs with all 13 organs
validation/Validation-Hidden-Images                                             without public labels, left out

Tumours are not annotated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.flare23 import only_labelled, preferred
from train.data.layouts.found import ALL, FoundCase, Pairing, folders_under, images_in
from train.data.layouts.names import target_of

_LICENCE = "CC BY-NC 4.0"
_ORGANS = tuple(value for value in ALL if value != target_of("tumour"))


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    drawn, guessed, held_out = (folder / part for part in ("train_gt_label", "train_pseudo_label", "validation"))
    truth = Pairing(None, _ORGANS, _LICENCE)
    found = truth.cases(images_in(drawn / "imagesTr"), images_in(drawn / "labelsTr"))
    images = images_in(guessed / "imagesTr")
    coreset = folder / "coreset_train_50_random"
    for part in (coreset, *folders_under(coreset)):
        images = {name: path for name, path in images_in(part).items() if path.name != f"{name}.nii.gz"} | images
    teams = (path for path in folders_under(guessed) if path != guessed / "imagesTr")
    organs = preferred(item for path in teams for item in images_in(path).items())
    found += [replace(case, organs=organs.get(case.name)) for case in truth.cases(images, {})]
    public, labels = (images_in(held_out / f"Validation-Public-{what}") for what in ("Images", "Labels"))
    validation = replace(truth, split="validation")
    return found + only_labelled(validation.cases(public | images_in(held_out / "Validation-Hidden-Images"), labels))
