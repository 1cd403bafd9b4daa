"""nnU-Net v2's raw folder (nnunetv2, documentation/dataset_format.md): a data set, or the folder nnUNet_raw of many:

Dataset001_Name/dataset.json, imagesTr/NAME_0000.nii.gz, labelsTr/NAME.nii.gz; imagesTs and labelsTs for validation

dataset.json names the channels, which must be CT alone, and the labels; `ignore` is unknown, and of regions the
smallest counts that FLARE has. It may list the files of each case itself, in `dataset`. The names of labels
are read as `flareseg` reads those of models; `values` of the source says what a name does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flareseg.errors import InputError
from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing, images_in
from train.data.layouts.names import data_sets_in, names_in, read_dataset_json


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    return [case for home in data_sets_in(folder) for case in _dataset(home, source)]


def _dataset(home: Path, source: SourceConfig) -> list[FoundCase]:
    path = home / "dataset.json"
    about = read_dataset_json(path)
    channels = about.get("channel_names", about.get("modality"))
    kinds = [str(kind) for kind in channels.values()] if isinstance(channels, dict) else []
    if [kind.upper() for kind in kinds] != ["CT"]:
        shown = ", ".join(kinds) or "of no name"
        raise InputError(f"'{path}' has the channels {shown}; only data sets of CTs alone can be used.")
    common = Pairing.named(names_in(about, path) | source.values, str(about.get("licence", "")))
    if "dataset" in about:
        images, maps = _listed(about["dataset"], home)
    else:
        images, maps = images_in(home / "imagesTr"), images_in(home / "labelsTr")
    tests = replace(common, split="validation")
    return common.cases(images, maps) + tests.cases(images_in(home / "imagesTs"), images_in(home / "labelsTs"))


def _listed(cases: Any, home: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """CTs and label maps of the cases that dataset.json lists itself; paths are absolute, or relative to the folder."""
    try:
        if not isinstance(cases, Mapping) or any(Path(name).name != name for name in cases):
            raise TypeError
        images = {name: home / entry["images"][0] for name, entry in cases.items()}
        maps = {name: home / entry["label"] for name, entry in cases.items() if entry.get("label")}
    except (TypeError, KeyError, IndexError, AttributeError):
        raise InputError(
            f"'{home / 'dataset.json'}': 'dataset' must give images and label of each case by its name."
        ) from None
    return images, maps
