"""KiTS23, KiTS21 and KiTS19 (github.com/neheller/kits23): the repository, or its folder dataset (KiTS19: data):

dataset/case_00000/imaging.nii.gz, dataset/case_00000/segmentation.nii.gz (KiTS21: aggregated_MAJ_seg.nii.gz)

1 both kidneys, 2 tumour, 3 cyst. Whether FLARE counts cysts as kidney is not documented, so they are unknown. Its
images are stored with slices along the first axis of the file, as their header says. `instances`, with the drawings of
each annotator, is left out.
"""

from __future__ import annotations

from pathlib import Path

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing, folders_under

LABELS = {1: "kidneys", 2: "tumour", 3: "cyst"}
_MAPS = ("segmentation.nii.gz", "aggregated_MAJ_seg.nii.gz")


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    images: dict[str, Path] = {}
    maps: dict[str, Path] = {}
    for case in folders_under(folder):
        if not case.name.startswith("case_"):
            continue
        if (case / "imaging.nii.gz").exists():
            images[case.name] = case / "imaging.nii.gz"
        for name in _MAPS:
            if (case / name).exists():
                maps.setdefault(case.name, case / name)
    return Pairing.named(LABELS, "CC BY-NC-SA 4.0").cases(images, maps)
