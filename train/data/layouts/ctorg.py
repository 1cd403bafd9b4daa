"""CT-ORG (Rister et al. 2020, doi 10.1038/s41597-020-00715-8), from TCIA:

OrganSegmentations/volume-0.nii.gz, OrganSegmentations/labels-0.nii.gz

1 liver, 4 both kidneys; 2 bladder, 3 lungs, 5 bones and 6 brain are not among FLARE's structures. Tumours lie in the
labels of their organs and are not annotated. Volumes 0 to 20 are its test set, which becomes validation. Many CTs are
those of LiTS, also in what their headers lack (lits.py). A label map whose header contradicts its CT is refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing
from train.data.layouts.numbered import numbered

LABELS = {1: "liver", 2: "bladder", 3: "lungs", 4: "kidneys", 5: "bones", 6: "brain"}
LAST_TEST = 20


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    found = Pairing.named(LABELS, "CC BY 3.0").cases(*numbered(folder, "volume-", "labels-"))
    tests = {case.name for case in found if case.labels and int(case.name) <= LAST_TEST}
    found = [replace(case, blank_headers=True) for case in found]
    return [replace(case, split="validation") if case.name in tests else case for case in found]
