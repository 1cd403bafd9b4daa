"""Medical Segmentation Decathlon: a task (dataset.json, imagesTr, labelsTr, imagesTs), or a folder of tasks.

Abdominal CT tasks: Task03_Liver (liver, tumour), Task07_Pancreas (pancreas, tumour), Task08_HepaticVessel (tumour; its
vessels are not among our structures), Task09_Spleen (spleen), Task10_Colon (tumour). CTs in imagesTs are unlabelled.
Other tasks are skipped: MR, and Task06_Lung, whose tumours are outside the abdomen.

A task annotates the tumours of its own organ only. As in FLARE 2023, its cases count as tumour cases: a second tumour
elsewhere in the same patient is rare.
"""

from __future__ import annotations

import json
from pathlib import Path

from flareseg.errors import InputError
from flareseg.labels import by_name
from train.config import SourceConfig
from train.data.layouts.found import FoundCase, LabelFile, images_in

_MEANINGS = {
    "liver": "liver",
    "pancreas": "pancreas",
    "spleen": "spleen",
    "cancer": "tumour",
    "tumour": "tumour",
    "tumor": "tumour",
    "colon cancer primaries": "tumour",
}
_LUNG = {"background", "cancer"}
"""The labels of Task06_Lung: cancer, but no organ."""
_LICENCE = "CC BY-SA 4.0"


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    inside = sorted(path.parent for path in folder.glob("*/dataset.json"))
    tasks = [folder] if (folder / "dataset.json").exists() else inside
    return [case for task in tasks for case in _task(task)]


def _task(folder: Path) -> list[FoundCase]:
    values = _values(folder / "dataset.json")
    if not values:
        return []
    maps = images_in(folder / "labelsTr")
    annotated = tuple(sorted(set(values.values())))
    labelled = [
        FoundCase(name, image, (LabelFile(maps[name], values),), annotated, licence=_LICENCE)
        for name, image in images_in(folder / "imagesTr").items()
        if name in maps
    ]
    others = [
        FoundCase(name, image, (), (), licence=_LICENCE) for name, image in images_in(folder / "imagesTs").items()
    ]
    return labelled + others


def _values(path: Path) -> dict[int, int]:
    """The label values of the task that correspond to one of our structures."""
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        names = {int(value): name.strip().lower() for value, name in labels.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise InputError(f"'{path}' has no table of labels, value -> name.") from None
    if set(names.values()) <= _LUNG:
        return {}
    return {value: by_name(_MEANINGS[name]).value for value, name in names.items() if name in _MEANINGS}
