"""`flareseg watch`: what is put into a folder is segmented once it is complete, once."""

import os
import sys
import time
from pathlib import Path

import pytest

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
