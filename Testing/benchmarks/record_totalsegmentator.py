"""What TotalSegmentator itself says of a small CT with a tiny net, recorded for test_totalsegmentator.py.

    ../../.venv-totalsegmentator/bin/python record_totalsegmentator.py ../engine/data/totalsegmentator
                                                                  (or: make record-totalsegmentator)

A phantom, sagittal and oblique, goes through TotalSegmentator's own functions as with `--fast`, once with one window
and once with several. Runs in TotalSegmentator's environment. The same command gives the same files on the same
versions.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from totalsegmentator_replica import PATCHES_ZYX, TRAINER, write_replica

SHAPE_XYZ, SPACING_XYZ_MM = (47, 45, 25), (2.0, 2.2, 3.7)
STRUCTURES = 4
TILT_DEGREES = 9.0
HU_STEP = 20
"""Images are rounded to it, so that they compress well."""


def phantom() -> nib.Nifti1Image:
    """A body with one ellipsoid per structure, in the HU that the net has learnt."""
    rng = np.random.default_rng(23)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE_XYZ), indexing="ij"))
    hu = np.full(SHAPE_XYZ, -900.0)
    hu[(grid[0] / 0.9) ** 2 + (grid[1] / 0.9) ** 2 < 1] = 20
    for label in range(1, STRUCTURES + 1):
        centre = rng.uniform(-0.5, 0.5, 3)
        hu[((grid - centre[:, None, None, None]) ** 2).sum(0) < 0.35**2] = 60 + 40 * label
    hu = np.rint((hu + rng.normal(0, 15, hu.shape)) / HU_STEP) * HU_STEP
    angle = np.radians(TILT_DEGREES)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    axial = nib.Nifti1Image(hu.astype(np.int16), tilt @ np.diag([*SPACING_XYZ_MM, 1.0]))
    return axial.as_reoriented(nib.orientations.axcodes2ornt(("P", "S", "L")))


def labels_of(ct: nib.Nifti1Image, windows: str) -> nib.Nifti1Image:
    """As `TotalSegmentator --fast --ml -d cpu` makes them."""
    with tempfile.TemporaryDirectory() as home:
        write_replica(Path(home), windows)
        # read when totalsegmentator is called, or nnU-Net imported
        results = str(Path(home) / "nnunet" / "results")
        os.environ |= {"TOTALSEG_HOME_DIR": home, "nnUNet_results": results}
        os.environ |= {"nnUNet_raw": home, "nnUNet_preprocessed": home}
        import nnunetv2.paths
        import nnunetv2.utilities.file_path_utilities as paths
        from totalsegmentator.nnunet import nnUNet_predict_image

        nnunetv2.paths.nnUNet_results = paths.nnUNet_results = results
        image, _, _ = nnUNet_predict_image(
            ct, None, 297, folds=[0], trainer=TRAINER, resample=3.0, task_name="total", device="cpu", quiet=True,
            skip_saving=True,
        )  # fmt: skip
        return image


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    ct = phantom()
    nib.save(ct, folder / "ct.nii.gz")
    for windows in PATCHES_ZYX:
        labels = labels_of(ct, windows)
        nib.save(nib.Nifti1Image(np.asarray(labels.dataobj).astype(np.uint8), ct.affine), folder / f"{windows}.nii.gz")
        print(windows, np.bincount(np.asarray(labels.dataobj).astype(int).ravel()))
    names = ("TotalSegmentator", "nnunetv2", "torch", "scipy")
    facts = {"versions": {name: version(name) for name in names}}
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
