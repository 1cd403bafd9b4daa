"""AMOS22 (Ji et al. 2022, arXiv 2206.08023; archive amos22.zip on Zenodo 7262581):

imagesTr/amos_0001.nii.gz, labelsTr/amos_0001.nii.gz; imagesVa and labelsVa, the validation set; imagesTs without labels

Numbers up to 500 are CTs, those above are MRs, which are left out. The numbers of the labels stand in its dataset.json,
where 8 is spelt "arota"; bladder and prostate or uterus are not among FLARE's structures. Tumours are not annotated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing, images_in

LABELS = {
    1: "spleen", 2: "right kidney", 3: "left kidney", 4: "gallbladder", 5: "esophagus", 6: "liver", 7: "stomach",
    8: "aorta", 9: "postcava", 10: "pancreas", 11: "right adrenal gland", 12: "left adrenal gland", 13: "duodenum",
    14: "bladder", 15: "prostate/uterus",
}  # fmt: skip
LAST_CT = 500


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    home = folder / "amos22" if (folder / "amos22" / "imagesTr").is_dir() else folder
    common = Pairing.named(LABELS, "CC BY 4.0")
    held_out = replace(common, split="validation")
    found = [
        *common.cases(images_in(home / "imagesTr"), images_in(home / "labelsTr")),
        *held_out.cases(images_in(home / "imagesVa"), images_in(home / "labelsVa")),
        *common.cases(images_in(home / "imagesTs"), {}),
    ]
    return [replace(case, left_out="an MR, no CT") if _number(case.name) > LAST_CT else case for case in found]


def _number(name: str) -> int:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else 0
