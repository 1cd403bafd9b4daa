"""`flareseg watch`: what is put into a folder is segmented once it is complete, once."""

import os
import sys
import time
from pathlib import Path

import pytest
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parent))

from dicom_results import bright_series

from flareseg.cli import main
from flareseg.commands import watch as module
from flareseg.io.files import write_volume


@pytest.fixture
def watch(tmp_path, segment_quickly, a_model, monkeypatch):
    """`flareseg watch` on the folder "in", an hour from now."""
    (tmp_path / "in").mkdir()

    def run(*arguments: object) -> int:
        words = ["watch", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(a_model)]
        monkeypatch.setattr(module, "_now", lambda: time.time() + 3600)
        return main([*words, "--progress", "none", "--force", "--once", *map(str, arguments)])

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("flareseg_"))


def test_every_ct_is_segmented_once_under_a_name_that_stays(watch, tmp_path, small_ct):
    bright_series(tmp_path / "in" / "p1")
    assert watch() == 0
    assert [name for name in names(tmp_path / "out") if name.startswith("p1")] == ["p1.nii.gz"]
    made = (tmp_path / "out" / "p1.nii.gz").stat().st_mtime_ns
    write_volume(small_ct, tmp_path / "in" / "p2.nii.gz")
    assert watch() == 0
    assert (tmp_path / "out" / "p2.nii.gz").is_file()
    assert (tmp_path / "out" / "p1.nii.gz").stat().st_mtime_ns == made


def test_what_still_changes_waits(watch, tmp_path):
    folder = bright_series(tmp_path / "in" / "p1")
    assert module._settled(tmp_path / "in", 3600) == []
    for file in folder.iterdir():
        os.utime(file, (0, 0))  # as a copy that keeps dates
    assert module._settled(tmp_path / "in", 3600) == []
    assert watch("--settle", 7200) == 0 and not (tmp_path / "out").exists()
    assert watch() == 0 and (tmp_path / "out" / "p1.nii.gz").is_file()


def test_what_is_no_ct_beside_the_cts_is_passed_over(watch, tmp_path, small_ct, capsys):
    folder = tmp_path / "in"
    write_volume(small_ct, folder / "a.nii.gz")
    image = sitk.GetImageFromArray(small_ct.hu)
    sitk.WriteImage(image, str(folder / "b.mhd"))  # and b.raw
    sitk.WriteImage(image, str(folder / "c.hdr"))  # and c.img
    for name in ("notes.txt", "d.nii.gz.part", "Thumbs.db"):
        (folder / name).write_bytes(b"no CT")
    assert watch() == 0 and names(tmp_path / "out") == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert "notes" not in capsys.readouterr().err


def test_loose_slices_are_one_ct(watch, tmp_path):
    bright_series(tmp_path / "in")
    first = min(path.name for path in (tmp_path / "in").iterdir())
    assert watch() == 0 and [name.split(".")[0] for name in names(tmp_path / "out")] == [first.split(".")[0]]


def test_a_header_waits_for_its_voxels_and_dates_in_the_future_for_nobody(watch, tmp_path, small_ct):
    sitk.WriteImage(sitk.GetImageFromArray(small_ct.hu), str(tmp_path / "in" / "b.mhd"))
    raw = tmp_path / "in" / "b.raw"
    voxels = raw.read_bytes()
    raw.write_bytes(voxels[:100])
    assert watch() == 1
    raw.write_bytes(voxels)
    future = time.time() + 10**7
    for file in (raw, raw.with_suffix(".mhd")):
        os.utime(file, (future, future))
    assert watch() == 0 and names(tmp_path / "out") == ["b.nii.gz"]


def test_dicom_results_go_into_folders(watch, tmp_path):
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    bright_series(tmp_path / "in" / "p1")
    assert watch("--format", ".dcm", "--dicom-sr", tmp_path / "out") == 0
    assert {"p1.dcm", "p1_sr.dcm"} <= set(names(tmp_path / "out"))
    assert watch("--dicom-seg", tmp_path / "out" / "a.dcm") == 2


def test_a_bad_one_does_not_stop_the_others(watch, tmp_path, capsys):
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"nothing")
    bright_series(tmp_path / "in" / "p1")
    assert watch() == 1
    assert "bad" in capsys.readouterr().err and (tmp_path / "out" / "p1.nii.gz").is_file()


def test_results_in_the_watched_folder_are_refused(watch, tmp_path, capsys):
    assert watch("-o", tmp_path / "in" / "out") == 2
    assert "choose another --output" in capsys.readouterr().err
