"""`flareseg measurements` as a user meets it: label maps that are there are measured, one line for what is wrong."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.cli import main
from flareseg.io.files import write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

GRID = Geometry((12, 40, 44), (5.0, 2.0, 2.0), (-40.0, -40.0, 0.0))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(folder, liver=slice(4, 30), grid=GRID):
    """A CT with a liver, and its label map."""
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[2:9, 6:30, liver] = 1
    rng = np.random.default_rng(0)
    hu = np.where(labels == 1, 100, -80) + rng.integers(-20, 20, grid.shape_zyx)
    hu[:, :3] = -1000
    result = Segmentation(labels, grid, structures(), folder.name)
    folder.mkdir()
    write_volume(Volume(hu.astype(np.int16), grid), folder / "ct.nii.gz")
    write_segmentation(result, folder / "organs.nii.gz")
    return [str(folder / "organs.nii.gz"), str(folder / "ct.nii.gz")]


@pytest.fixture
def two(tmp_path):
    return write(tmp_path / "a"), write(tmp_path / "b", slice(4, 20))


def run(*pairs, more=()):
    return main(["measurements", *(one for one, _ in pairs), "--ct", *(ct for _, ct in pairs), *map(str, more)])


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_label_map_has_its_rows_under_a_name_of_its_own(two, tmp_path):
    assert run(*two, more=["-o", tmp_path / "m.csv", "--features"]) == 0
    livers = [row for row in table(tmp_path / "m.csv") if row["structure"] == "liver"]
    assert [(row["case"], row["model"], row["voxels"]) for row in livers] == [
        ("a/organs", "unknown", str(7 * 24 * 26)),
        ("b/organs", "unknown", str(7 * 24 * 16)),
    ]
    assert float(livers[0]["mean_hu"]) == pytest.approx(100, abs=1)
    assert float(livers[0]["original_shape_VoxelVolume"]) == pytest.approx(1000 * float(livers[0]["volume_ml"]))


def test_without_a_file_the_table_is_shown(two, capsys):
    assert run(two[0]) == 0
    assert "Liver" in capsys.readouterr().out


def test_a_case_that_cannot_be_read_does_not_end_the_others(two, tmp_path, capfd):
    (tmp_path / "a" / "organs.nii.gz").write_bytes(b"no image")
    assert run(*two, more=["-o", tmp_path / "m.json"]) == 1
    assert {row["case"] for row in json.loads((tmp_path / "m.json").read_text())} == {"b/organs"}
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("flareseg: a/organs: ")


def test_a_label_map_of_another_grid_is_refused(two, tmp_path, capfd):
    other = write(tmp_path / "c", grid=Geometry(GRID.shape_zyx, (5.0, 1.0, 1.0), GRID.origin_xyz_mm))
    assert run((other[0], two[0][1]), more=["-o", tmp_path / "m.csv"]) == 1
    assert "does not lie on the grid" in capfd.readouterr().err and not (tmp_path / "m.csv").exists()


def test_values_that_mean_no_structure_are_named(tmp_path, capfd):
    labels = np.full(GRID.shape_zyx, 77, np.uint8)
    pair = write(tmp_path / "a")
    write_segmentation(Segmentation(labels, GRID, structures()), tmp_path / "a" / "organs.nii.gz", overwrite=True)
    assert run(pair, more=["-o", tmp_path / "m.csv"]) == 0
    assert "mean no structure and are not measured: 77." in capfd.readouterr().err
    assert all(row["voxels"] == "0" for row in table(tmp_path / "m.csv"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "No segmentation is named"),
        (["a/organs.nii.gz"], "--ct needs one CT"),
        (["a/organs.nii.gz", "--ct", "a/ct.nii.gz", "-o", "a/ct.nii.gz"], "ends in .csv, .json or .parquet"),
        (["a/organs.nii.gz", "--ct", "a/ct.nii.gz", "--features"], "add -o FILE"),
        (["a/organs.nii.gz", "--dictionary"], "name none"),
        (["--dictionary", "-o", "d.txt"], "ends in .csv, .json or .md"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(two, tmp_path, capfd, words, reason):
    before = sorted(tmp_path.rglob("*"))
    assert main(["measurements", *words]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and reason in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_table_is_kept_without_overwrite(two, tmp_path, capfd):
    (tmp_path / "m.csv").write_text("mine")
    assert run(two[0], more=["-o", tmp_path / "m.csv"]) == 1
    assert "exists" in capfd.readouterr().err and (tmp_path / "m.csv").read_text() == "mine"
    assert run(two[0], more=["-o", tmp_path / "m.csv", "--overwrite"]) == 0


def test_a_label_map_whose_axes_run_otherwise_is_that_of_its_ct(two, tmp_path):
    image = sitk.Flip(sitk.ReadImage(two[0][0]), (True, False, True))
    sitk.WriteImage(image, str(tmp_path / "turned.nii.gz"))
    assert run(two[0], more=["-o", tmp_path / "own.csv"]) == 0
    assert run((str(tmp_path / "turned.nii.gz"), two[0][1]), more=["-o", tmp_path / "turned.csv"]) == 0
    own, turned = table(tmp_path / "own.csv"), table(tmp_path / "turned.csv")
    assert [row | {"case": ""} for row in own] == [row | {"case": ""} for row in turned]
