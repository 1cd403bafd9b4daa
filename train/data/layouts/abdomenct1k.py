"""AbdomenCT-1K: AbdomenCT-1K-ImagePart1 to 3/Case_00001_0000.nii.gz, and Mask/Case_00001.nii.gz with 1 liver, 2 both
kidneys, 3 spleen, 4 pancreas. Tumours in these organs are labelled as the organ; tumours are not annotated."""

from __future__ import annotations

from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing, folders_under, images_in

_LABELS = {1: "liver", 2: "kidneys", 3: "spleen", 4: "pancreas"}


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for part in folders_under(folder):
        (masks if part.name.lower().startswith("mask") else images).update(images_in(part))
    return Pairing.named(_LABELS).cases(images, masks)
