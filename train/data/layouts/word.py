"""WORD (Luo et al. 2022, github.com/HiLab-git/WORD), the folder WORD-V0.1.0:

imagesTr/word_0002.nii.gz, labelsTr/word_0002.nii.gz; imagesVal and labelsVal, the validation set; imagesTs, whose
labels (labelsTs) are given on request

12 stands for both adrenal glands. Aorta, vena cava and tumours are not annotated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing, images_in

LABELS = {
    1: "liver", 2: "spleen", 3: "left kidney", 4: "right kidney", 5: "stomach", 6: "gallbladder", 7: "esophagus",
    8: "pancreas", 9: "duodenum", 10: "colon", 11: "intestine", 12: "adrenal", 13: "rectum", 14: "bladder",
    15: "head of left femur", 16: "head of right femur",
}  # fmt: skip


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    nested = sorted(path for path in folder.glob("WORD-V*") if path.is_dir())
    home = nested[-1] if nested else folder
    common = Pairing.named(LABELS)
    held_out = replace(common, split="validation")
    return [
        *common.cases(images_in(home / "imagesTr"), images_in(home / "labelsTr")),
        *held_out.cases(images_in(home / "imagesVal"), images_in(home / "labelsVal")),
        *held_out.cases(images_in(home / "imagesTs"), images_in(home / "labelsTs")),
    ]
