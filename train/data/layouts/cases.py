"""The project's own layout: a folder per case with ct.nii.gz and, optionally, seg.nii.gz (FLARE label values, 255
unknown), lesions.nii.gz (1 a sure lesion, 255 a doubtful one), organs.nii.gz (organ pseudo-labels) and info.json
(labels_present, in_part, licence, split, patient).

Lesions lie over the organs: sure ones become tumours, doubtful ones unknown. The file means that somebody searched for
them, so tumours count as annotated, also where it has none, unless `annotated` of the source says what is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flareseg.errors import FlareError, InputError
from flareseg.labels import by_name
from train.common.json_files import checked_table
from train.config import SourceConfig
from train.data.case_folder import CT, INFO, LESIONS, ORGANS, TRUTH, patient_of
from train.data.layouts.found import ALL, WITHOUT_CT, FoundCase, LabelFile
from train.data.layouts.names import target_of

_SURE = 1


def find(folder: Path, source: SourceConfig) -> list[FoundCase]:
    folders = {name: _folders_with(name, folder) for name in (CT, TRUTH)}
    found = [_case(one, with_lesions=source.lesions) for one in folders[CT]]
    maps = [one for one in folders[TRUTH] if one not in folders[CT]]
    return found + [FoundCase(one.name, one / TRUTH, left_out=WITHOUT_CT) for one in maps]


def _folders_with(name: str, folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob(f"*/{name}")) if not path.parent.name.startswith(".")]


def _case(folder: Path, *, with_lesions: bool) -> FoundCase:
    image, labels, lesions, organs, about = (folder / name for name in (CT, TRUTH, LESIONS, ORGANS, INFO))
    tumour, searched = target_of("tumour"), with_lesions and lesions.exists()
    try:
        info = _info(about)
        annotated = annotated_values(info.get("labels_present"), about)
        in_part = annotated_values(info.get("in_part"), about, "in_part")
    except FlareError as error:  # one unusable case does not stop the others
        return FoundCase(folder.name, image, problem=str(error))
    return FoundCase(
        name=folder.name,
        image=image,
        labels=(
            *((LabelFile(labels),) if labels.exists() else ()),
            *((LabelFile(lesions, {_SURE: tumour}),) if searched else ()),
        ),
        annotated=annotated if labels.exists() else (),
        searched=(tumour,) if searched else (),
        in_part=in_part or (),
        organs=organs if organs.exists() else None,
        split=info["split"] if info.get("split") in ("train", "validation") else None,
        licence=str(info.get("licence", "")),
        patient=patient_of(info, folder.name),
    )


def annotated_values(present: Any, about: Path, key: str = "labels_present") -> tuple[int, ...] | None:
    """Label values from `labels_present`: a list of values or names, or a table value -> name; None stays None.

    Raises:
        InputError: when it is neither; `about` is the file, and `key` the entry, to name in the message.
    """
    if present is None:
        return None
    try:
        values = tuple(int(item) if str(item).isdigit() else by_name(item).value for item in present)
    except (TypeError, AttributeError, FlareError):
        values = (0,)
    if not set(values) <= set(ALL):
        raise InputError(f"'{about}': {key} must list label values from 1 to {max(ALL)}, or structures.")
    return values


def _info(path: Path) -> dict[str, Any]:
    return checked_table(path) if path.exists() else {}
