"""Medical Segmentation Decathlon: a task (dataset.json, imagesTr, labelsTr, imagesTs), or a folder of tasks.

Abdominal CT tasks: Task03_Liver (liver, tumour), Task07_Pancreas (pancreas, tumour), Task08_HepaticVessel (tumour; its
vessels are not among our structures), Task09_Spleen (spleen), Task10_Colon (tumour). CTs in imagesTs are unlabelled.
Other tasks are left out: MR, and Task06_Lung, whose tumours are outside the abdomen.

A task annotates the tumours of its own organ only. As in FLARE 2023, its cases count as tumour cases: a second tumour
elsewhere in the same patient is rare.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing, images_in
from train.data.layouts.names import data_sets_in, names_in, read_dataset_json

_LUNG = {"background", "cancer"}
"""The labels of Task06_Lung: cancer, but no organ."""
_LICENCE = "CC BY-SA 4.0"


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    return [case for task in data_sets_in(folder) for case in _task(task, source)]


def _task(folder: Path, source: SourceConfig) -> list[FoundCase]:
    path = folder / "dataset.json"
    about = read_dataset_json(path)
    common = Pairing.named(names_in(about, path) | source.values, _LICENCE)
    found = common.cases(images_in(folder / "imagesTr"), images_in(folder / "labelsTr"))
    found += common.cases(images_in(folder / "imagesTs"), {})
    reason = _reason(about, common)
    return [replace(case, left_out=reason) for case in found] if reason else found


def _reason(about: dict[str, Any], common: Pairing) -> str:
    """Why a task is of no use; empty if it is."""
    modality = about.get("modality")
    if isinstance(modality, dict) and not any("CT" in str(name).upper() for name in modality.values()):
        return "a task of MRs"
    names = {str(name).strip().lower() for name in about["labels"].values()}
    if names <= _LUNG or not common.annotated:
        return "a task without a structure of FLARE"
    return ""
