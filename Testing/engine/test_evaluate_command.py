"""`flareseg evaluate` as a user meets it: what can be scored is, and one line says what cannot."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.cli import main

SHAPE = (8, 12, 14)
CASES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path, value=1, turned=False):
    """A label map with one box; its rows and columns run backwards where it is turned."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 3:7, 2:9] = value
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((1.0, 1.5, 2.0))
    if turned:
        image = sitk.Flip(image, (True, True, False))
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def folders(tmp_path):
    for name in CASES:
        write(tmp_path / "p" / f"{name}.nii.gz")
        write(tmp_path / "r" / f"{name}.nii.gz")
    return tmp_path


def scored():
    with Path("s.csv").open(newline="", encoding="utf-8") as file:
        return [row["case"] for row in csv.DictReader(file) if row["structure"] == "liver"]


def one_line(capfd):
    text = capfd.readouterr().err
    assert text.startswith("flareseg: ") and text.count("\n") == 1
    return text


def test_a_case_that_cannot_be_scored_does_not_end_the_others(folders, capfd):
    (folders / "p" / "b.nii.gz").write_bytes(b"no image")
    assert main(["evaluate", "p", "r", "-o", "s.csv"]) == 1
    out, err = capfd.readouterr()
    assert err.startswith("flareseg: b: 'p/b.nii.gz'") and err.count("\n") == 1
    assert "2 cases" in out and "Not scored, left out: 'b'." in out
    assert scored() == ["a", "c", "mean"]


def test_where_no_case_can_be_scored_no_table_is_written(folders, capfd):
    (folders / "p" / "b.nii.gz").write_bytes(b"")
    assert main(["evaluate", "p/b.nii.gz", "r/b.nii.gz", "-o", "s.csv"]) == 1
    assert "is empty" in one_line(capfd) and not (folders / "s.csv").exists()


def test_references_without_a_prediction_are_left_out_when_asked(folders, capfd):
    (folders / "p" / "b.nii.gz").unlink()
    assert main(["evaluate", "p", "r", "-o", "s.csv"]) == 1
    assert "'b' (1 of 3); use --skip-missing" in one_line(capfd) and not (folders / "s.csv").exists()
    assert main(["evaluate", "p", "r", "-o", "s.csv", "--skip-missing"]) == 0
    assert "Without a prediction, left out: 'b'." in capfd.readouterr().out
    assert scored() == ["a", "c", "mean"]


@pytest.mark.parametrize(
    ("name", "words"), [("s.csv", "use --overwrite"), ("s.xlsx", "ends in .csv"), ("taken/s.csv", "taken")]
)
def test_a_table_that_cannot_be_written_is_told_before_the_work(folders, capfd, name, words, monkeypatch):
    (folders / "s.csv").touch()
    (folders / "taken").touch()
    monkeypatch.setattr("flareseg.commands.evaluate.evaluate", lambda *_, **__: pytest.fail("it was at work"))
    assert main(["evaluate", "p", "r", "-o", name]) != 0
    assert words in one_line(capfd)


def test_a_label_map_whose_axes_run_otherwise_is_scored(folders, capfd):
    write(folders / "p" / "turned.nii.gz", turned=True)
    assert main(["evaluate", "p/turned.nii.gz", "r/a.nii.gz"]) == 0
    assert "Liver                 100.00  100.00\n" in capfd.readouterr().out


def test_values_that_mean_no_structure_are_named(folders, capfd):
    write(folders / "p" / "a.nii.gz", value=52)
    write(folders / "r" / "b.nii.gz", value=255)
    assert main(["evaluate", "p", "r"]) == 0
    assert "'p/a.nii.gz' has values that mean no structure and are not scored: 52." in one_line(capfd)
