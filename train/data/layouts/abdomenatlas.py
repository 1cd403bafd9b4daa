"""AbdomenAtlas 1.0, 1.1 and 3.0 Mini (Li et al. 2024; huggingface.co/AbdomenAtlas), unpacked:

BDMAP_00000001/ct.nii.gz, BDMAP_00000001/segmentations/liver.nii.gz, one mask per structure; 3.0, and parts of 1.1, have
CTs and masks in two trees, such as image_only/BDMAP_00000001/ and mask_only/BDMAP_00000001/

An organ whose mask is there is annotated; an empty mask means that it is not in view. combined_labels.nii.gz, which has
other numbers in each version, is not read. Masks of lesions, tumours and cysts hold benign and malignant ones together,
as an AI and radiologists drew them: these voxels are unknown, and tumours are not annotated.
"""

from __future__ import annotations

from pathlib import Path

from flareseg.io.files import ending_of
from train.config import SourceConfig
from train.data.layouts.found import ALL, WITHOUT_CT, FoundCase, LabelFile, folders_under, images_in
from train.data.layouts.names import UNKNOWN, target_of

_LICENCE = "CC BY-NC-SA 4.0"
_PREFIX, _MASKS = "BDMAP_", "segmentations"
_DISEASE = ("_lesion", "_tumor", "_cyst", "_pdac", "_pnet")


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for case in folders_under(folder):
        if case.name.startswith(_PREFIX):
            if (case / "ct.nii.gz").exists():
                images[case.name] = case / "ct.nii.gz"
            if (case / _MASKS).is_dir():
                masks[case.name] = case / _MASKS
    found = [_case(name, image, masks.get(name)) for name, image in images.items()]
    orphans = {name: _files(inside) for name, inside in masks.items() if name not in images}
    return found + [FoundCase(name, files[0], left_out=WITHOUT_CT) for name, files in orphans.items() if files]


def _files(folder: Path) -> list[Path]:
    return list(images_in(folder).values())


def _case(name: str, image: Path, folder: Path | None) -> FoundCase:
    organs, unknown = [], []
    for path in _files(folder) if folder else []:
        mask = path.name[: -len(ending_of(path))]
        if mask.endswith(_DISEASE):
            unknown.append(LabelFile(path, {1: UNKNOWN}))
        elif (value := target_of(mask)) in ALL:
            organs.append(LabelFile(path, {1: value}))
    annotated = sorted({value for file in organs for value in (file.values or {}).values()})
    return FoundCase(name, image, (*organs, *unknown) if organs else (), tuple(annotated), licence=_LICENCE)
