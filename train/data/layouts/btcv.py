"""BTCV, Beyond the Cranial Vault (Synapse syn3193805), the archive RawData.zip of the abdomen:

RawData/Training/img/img0001.nii.gz, RawData/Training/label/label0001.nii.gz; RawData/Testing/img without labels

Duodenum and tumours are not annotated; 10 are the portal and splenic veins, which FLARE does not have.
"""

from __future__ import annotations

from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing, folders_under, images_in

LABELS = {
    1: "spleen", 2: "right kidney", 3: "left kidney", 4: "gallbladder", 5: "esophagus", 6: "liver", 7: "stomach",
    8: "aorta", 9: "inferior vena cava", 10: "portal and splenic vein", 11: "pancreas", 12: "right adrenal gland",
    13: "left adrenal gland",
}  # fmt: skip
_IMAGES, _MAPS = ("img", "imagestr", "imagests"), ("label", "labelstr", "labels")


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    images: dict[str, Path] = {}
    maps: dict[str, Path] = {}
    for part in folders_under(folder):
        if part.name.lower() in _IMAGES:
            images |= {name.removeprefix("img"): path for name, path in images_in(part).items()}
        elif part.name.lower() in _MAPS:
            maps |= {name.removeprefix("label"): path for name, path in images_in(part).items()}
    return Pairing.named(LABELS).cases(images, maps)
