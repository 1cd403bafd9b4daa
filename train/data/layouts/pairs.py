"""Two folders with matching file names: images and labels, imagesTr and labelsTr (with or without "_0000"), or ct and
seg.

Images without labels are allowed. `values` in the configuration maps label values to structures (default: FLARE label
values). Annotated are the structures in `values`, or else those that occur in a case.
"""

from __future__ import annotations

from pathlib import Path

from flareseg.labels import by_name
from train.config import SourceConfig
from train.data.layouts.found import FoundCase, LabelFile, images_in

_NAMES = (("images", "labels"), ("imagesTr", "labelsTr"), ("ct", "seg"))


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    values = {own: by_name(name).value for own, name in source.values.items()} or None
    annotated = tuple(sorted(set(values.values()))) if values else None
    result = []
    for images, labels in _NAMES:
        maps = images_in(folder / labels)
        for name, image in images_in(folder / images).items():
            files = (LabelFile(maps[name], values),) if name in maps else ()
            result.append(FoundCase(name, image, files, annotated if files else ()))
    return result
