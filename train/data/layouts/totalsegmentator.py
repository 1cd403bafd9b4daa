"""TotalSegmentator version 2: s0001/ct.nii.gz, s0001/segmentations/STRUCTURE.nii.gz, one mask per structure; meta.csv
(semicolon-separated; image_id, split and more) splits the cases into train, val and test.

The 13 organs are annotated; an empty mask means that the organ is outside the field of view. Tumours are not annotated.
Kidney cysts have masks of their own. Whether FLARE counts them as kidney is not documented, so they are set to unknown.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from flareseg.errors import InputError
from flareseg.labels import by_name
from train.config import SourceConfig
from train.data.index import IGNORE
from train.data.layouts.found import FoundCase, LabelFile

NAMES = {
    "liver": "liver",
    "kidney_right": "right_kidney",
    "spleen": "spleen",
    "pancreas": "pancreas",
    "aorta": "aorta",
    "inferior_vena_cava": "inferior_vena_cava",
    "adrenal_gland_right": "right_adrenal_gland",
    "adrenal_gland_left": "left_adrenal_gland",
    "gallbladder": "gallbladder",
    "esophagus": "esophagus",
    "stomach": "stomach",
    "duodenum": "duodenum",
    "kidney_left": "left_kidney",
}
UNKNOWN = ("kidney_cyst_left", "kidney_cyst_right")


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    splits = _splits(folder / "meta.csv")
    return [_case(path.parent, splits) for path in sorted(folder.glob("*/ct.nii.gz"))]


def _case(folder: Path, splits: dict[str, Literal["train", "validation"]]) -> FoundCase:
    files = []
    for theirs, ours in NAMES.items():
        path = folder / "segmentations" / f"{theirs}.nii.gz"
        if path.exists():
            files.append(LabelFile(path, {1: by_name(ours).value}))
    annotated = tuple(value for file in files for value in (file.values or {}).values())
    cysts = [folder / "segmentations" / f"{name}.nii.gz" for name in UNKNOWN]
    files += [LabelFile(path, {1: IGNORE}) for path in cysts if path.exists()]
    return FoundCase(
        name=folder.name,
        image=folder / "ct.nii.gz",
        labels=tuple(files),
        annotated=annotated,
        split=splits.get(folder.name),
        licence="CC BY 4.0",
    )


def _splits(path: Path) -> dict[str, Literal["train", "validation"]]:
    """The official split; val and test both become validation."""
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = list(csv.DictReader(lines, delimiter=";" if ";" in lines[0] else ","))
        return {row["image_id"]: "train" if (row.get("split") or "train") == "train" else "validation" for row in rows}
    except (OSError, ValueError, KeyError, IndexError, csv.Error):
        raise InputError(
            f"'{path}' is no table with the column image_id; remove it to divide the cases anew."
        ) from None
