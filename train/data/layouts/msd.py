"""Medical Segmentation Decathlon: a task (dataset.json, imagesTr, labelsTr, imagesTs), or a folder of tasks.

The CTs of the abdomen: Task03_Liver (liver, tumour), Task07_Pancreas (pancreas, tumour), Task08_HepaticVessel (tumour;
its vessels are none of our structures), Task09_Spleen (spleen), Task10_Colon (tumour). The CTs of imagesTs come without
labels. The other tasks are left out: MR, and Task06_Lung, whose tumours lie outside the abdomen.

A task annotates the tumours of its own organ. FLARE 2023 took such cases as tumour cases, and so do we: another tumour
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
"""Every value of Task06_Lung: cancer, and no organ that it is in."""
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
    covered = tuple(sorted(set(values.values())))
    labelled = [
        FoundCase(name, image, (LabelFile(maps[name], values),), covered, licence=_LICENCE)
        for name, image in images_in(folder / "imagesTr").items()
        if name in maps
    ]
    others = [
        FoundCase(name, image, (), (), licence=_LICENCE) for name, image in images_in(folder / "imagesTs").items()
    ]
    return labelled + others


def _values(path: Path) -> dict[int, int]:
    """The task's label values that mean one of our structures."""
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        names = {int(value): name.strip().lower() for value, name in labels.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise InputError(f"'{path}' has no table of labels, value -> name.") from None
    if set(names.values()) <= _LUNG:
        return {}
    return {value: by_name(_MEANINGS[name]).value for value, name in names.items() if name in _MEANINGS}
