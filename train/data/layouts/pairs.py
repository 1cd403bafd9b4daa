"""Two folders with matching file names: images and labels, imagesTr and labelsTr (with or without "_0000"), or ct and
seg.

Images without labels are allowed. What the numbers of the label maps mean is said by a dataset.json beside the folders
(of the Decathlon or nnU-Net), by `values` in the configuration, or both, where `values` wins. Annotated is what they
name.
"""

from __future__ import annotations

from pathlib import Path

from flareseg.errors import InputError
from train.config import SourceConfig
from train.data.layouts.found import FoundCase, Pairing, images_in
from train.data.layouts.names import names_in, read_dataset_json

_NAMES = (("images", "labels"), ("imagesTr", "labelsTr"), ("ct", "seg"))


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    pairs = [(images_in(folder / images), images_in(folder / labels)) for images, labels in _NAMES]
    names = dict(source.values)
    about = folder / "dataset.json"
    if about.exists():
        names = names_in(read_dataset_json(about), about) | names
    if not names and any(maps for _, maps in pairs):
        raise InputError(
            f"The numbers of the label maps in '{folder}' have no names; put a dataset.json there, or say what they "
            f"mean in sources.{source.name}.values, such as {{1: liver, 2: right_kidney, 3: background}}."
        )
    return [case for images, maps in pairs for case in Pairing.named(names).cases(images, maps)]
