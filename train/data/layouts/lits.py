"""LiTS (Bilic et al. 2023, arXiv 1901.04056; competitions.codalab.org/competitions/17094), its batches side by side:

Training Batch 1/volume-0.nii, Training Batch 1/segmentation-0.nii; test-volume-0.nii without labels

1 liver, 2 tumour of the liver. As in FLARE 2023, its cases count as tumour cases: what lies outside the liver was not
searched, but a second tumour elsewhere in the same patient is rare. The CTs are those of the Decathlon's Task03_Liver:
use one of the two. Label maps whose header contradicts that of the CT are refused.
"""

from __future__ import annotations

from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing
from train.data.layouts.numbered import numbered

LABELS = {1: "liver", 2: "tumour"}


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    images, maps = numbered(folder, "volume-", "segmentation-")
    tests, _ = numbered(folder, "test-volume-", "test-segmentation-")
    tests = {f"test_{number}": path for number, path in tests.items()}
    return Pairing.named(LABELS, "CC BY-NC-ND 4.0").cases(images | tests, maps)
