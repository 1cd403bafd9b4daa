"""The training benchmark's own half on a case so small that it takes seconds, and how figures are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import training_flareseg_side as side
from training import NNUNET, OWN, Row, section

from train.data.cache import load_cached


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One cached case of 24 voxels a side, and a net for it."""
    folder = tmp_path_factory.mktemp("training")
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[6:18, 6:18, 6:18] = 1
    hu = np.where(labels > 0, 100, 40) + np.random.default_rng(0).normal(0, 12, labels.shape)
    hu[:, :2] = -1000  # air, without which a volume is taken for another kind of image
    arrays = {"ct": hu.astype(np.int16), "seg": labels}
    (folder / "data" / "cube").mkdir(parents=True)
    for name, array in arrays.items():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((4.0, 4.0, 4.0))
        sitk.WriteImage(image, str(folder / "data" / "cube" / f"{name}.nii.gz"))
    net = {"spacing_zyx_mm": [4.0, 4.0, 4.0], "patch_zyx": [16, 16, 16], "filters": [4, 8, 8]}
    net |= {"clip_hu": [-200.0, 350.0], "mean_hu": 70.0, "std_hu": 100.0, "deep_supervision": 1}
    order = {"data": str(folder / "data"), "cache": str(folder / "cache"), "net": net, "augment": {}, "batch_size": 2}
    prepared = side.prepare(order)
    assert prepared["cases"] == 1 and prepared["bytes"] > 0
    return order


def test_cases_are_cached_as_the_training_reads_them(order: dict[str, Any]) -> None:
    case = load_cached(Path(order["cache"]) / "cube", "truth")
    assert list(case.centres) == [1] and case.known.all()


def test_batches_are_counted_and_timed(order: dict[str, Any]) -> None:
    measured = side.load(order | {"workers": 1, "warm": 1, "count": 3})
    assert measured["patches"] == 6 and measured["shape"] == [2, 1, 16, 16, 16] and measured["seconds"] > 0


def test_steps_are_timed_one_by_one(order: dict[str, Any]) -> None:
    measured = side.step(order | {"warm": 1, "count": 2, "precision": "32-true"})
    assert len(measured["steps_s"]) == 2 and min(measured["steps_s"]) > 0 and measured["parameters"] > 1000


def test_ratios_compare_rounds_with_each_other() -> None:
    def row(program: str, seconds: list[float]) -> Row:
        answers = [{"patches": 12, "seconds": value, "peak_resident_bytes": 2**30} for value in seconds]
        return Row(program, "setting", {"what": "load"}, answers)

    theirs, ours = row(NNUNET, [4.0, 2.0, 8.0]), row(OWN, [2.0, 1.0, 1.0])
    assert ours.patches_per_second == [6, 12, 12] and ours.speed == 12
    assert ours.times_faster_than(theirs) == 2
    assert "| train | setting | 12 | 6 to 12 | 2.00 | 1.0 |" in section("Loading", [theirs, ours])
