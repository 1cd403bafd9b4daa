"""LiTS (Bilic et al. 2023, arXiv 1901.04056; competitions.codalab.org/competitions/17094), its batches side by side:

Training Batch 1/volume-0.nii, Training Batch 1/segmentation-0.nii; test-volume-0.nii without labels

1 liver, 2 tumour of the liver. As in FLARE 2023, its cases count as tumour cases: what lies outside the liver was not
searched, but a second tumour elsewhere in the same patient is rare. The CTs are those of the Decathlon's Task03_Liver:
use one of the two.

Some label maps have an identity matrix for a header (github.com/MIC-DKFZ/nnUNet/issues/2751), and lie as their CT does.
The CTs 28 to 47 have one too (github.com/PatrickChrist/LITS-CHALLENGE/issues/14): nobody knows their size, and they are
refused. They are those of 3D-IRCADb-1, which has their headers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing
from train.data.layouts.numbered import numbered

LABELS = {1: "liver", 2: "tumour"}


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    images, maps = numbered(folder, "volume-", "segmentation-")
    tests, _ = numbered(folder, "test-volume-", "test-segmentation-")
    tests = {f"test_{number}": path for number, path in tests.items()}
    found = Pairing.named(LABELS, "CC BY-NC-ND 4.0").cases(images | tests, maps)
    return [replace(case, blank_headers=True) for case in found]
