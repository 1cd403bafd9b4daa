"""`flareseg compare` as a user meets it: a table, files, pictures, and one line for what is wrong."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parent))
from followup_scans import grid_of, plant, segmentation_of

from flareseg.cli import main
from flareseg.io.files import read_labels, read_volume, write_segmentation, write_volume
from flareseg.labels import by_name
from flareseg.volume import Volume

GRID = grid_of(np.zeros((24, 50, 50), np.uint8), (5.0, 4.0, 4.0), (-100.0, -100.0, 0.0))
PLACE = np.array([0.0, 0.0, 60.0])


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, *lesions):
    """A liver with balls in it: (place beside the middle, diameter in mm)."""
    z, y, x = np.ogrid[:24, :50, :50]
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[((z - 12) / 10) ** 2 + ((y - 24) / 20) ** 2 + ((x - 26) / 16) ** 2 < 1] = by_name("liver").value
    for beside, diameter in lesions:
        plant(labels, GRID, PLACE + beside, diameter)
    return write_segmentation(segmentation_of(labels, GRID), f"{name}.seg.nrrd")


@pytest.fixture
def pair():
    before = write("before_flareseg", ((-20, 0, 0), 30), ((30, 10, 0), 22))
    after = write("after_flareseg", ((-20, 0, 0), 18), ((0, 40, 0), 20))
    return str(before), str(after)


@pytest.fixture
def cts(small_noise):
    return tuple(str(write_volume(Volume(small_noise, GRID), f"{name}.nii.gz")) for name in ("before", "after"))


@pytest.fixture
def small_noise():
    rng = np.random.default_rng(1)
    hu = rng.normal(80, 15, GRID.shape_zyx)
    hu[:, :3], hu[:, 3:8] = -1000, -90  # air and fat
    return hu.astype(np.int16)


def one_line(capsys):
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "Traceback" not in text, text
    return text


def test_two_results_give_a_table_and_a_category(pair, capsys):
    assert main(["compare", *pair, "--dates", "2024-01-31", "20240320"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split() == ["before", "after", "change"]
    assert lines[1].split() == ["2024-01-31", "2024-03-20"]
    assert any(line.startswith("  1* Liver") and line.endswith("%") for line in lines)
    assert any("gone" in line for line in lines) and any(line.endswith("new") for line in lines)
    assert "By RECIST 1.1's numbers, no diagnosis: PD (progressive disease); new: lesion 3" in out


def test_results_are_put_in_the_order_of_their_dates(pair, capsys):
    assert main(["compare", *pair, "--dates", "2024-03-20", "2024-01-31"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["after", "before", "change"]
    assert "put in the order of their dates" in out


def test_the_csv_has_a_row_for_each_lesion_sum_and_organ_in_each_scan(pair, capsys):
    assert main(["compare", *pair, "-o", "table.csv"]) == 0
    with Path("table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = [(row["kind"], row["number"], row["scan"]) for row in rows]
    assert len(kinds) == len(set(kinds)) == 2 * (3 + 1 + 1)
    new = next(row for row in rows if row["kind"] == "lesion" and row["number"] == "3" and row["scan"] == "2")
    assert (new["remarks"], new["target"], new["structure"]) == ("new", "no", "liver")
    assert float(new["longest_mm"]) == pytest.approx(20, abs=5)
    total = next(row for row in rows if row["kind"] == "sum" and row["scan"] == "2")
    assert total["category"] == "PD" and float(total["change_per_cent"]) < -30
    assert capsys.readouterr().err == ""


def test_the_json_says_where_each_lesion_lies_at_both_dates(pair, capsys):
    assert main(["compare", *pair, "-o", "all.json", "--json"]) == 0
    stored = json.loads(Path("all.json").read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == stored
    first = stored["lesions"][0]
    for scan in first["scans"]:
        assert np.linalg.norm(np.subtract(scan["place_xyz_mm"], PLACE + [-20, 0, 0])) < 6  # noqa: RUF005
        assert len(scan["parts"]) == 1
    assert stored["responses"][0]["overall"] == "PD"
    assert stored["lesions"][1]["scans"][1]["longest_mm"] == 0


def test_with_the_cts_come_hu_and_pictures(pair, cts, capsys):
    pytest.importorskip("matplotlib")
    assert main(["compare", *pair, "--ct", *cts, "--report", "page", "-o", "table.json"]) == 0
    assert sorted(path.name for path in Path("page").iterdir()) == ["followup.html", "followup.png"]
    page = Path("page/followup.html").read_text(encoding="utf-8")
    assert "Not a medical device" in page and "no diagnosis" in page and "data:image/png" in page
    assert "default-src 'none'" in page and "script-src 'none'" in page
    stored = json.loads(Path("table.json").read_text(encoding="utf-8"))
    assert stored["lesions"][0]["scans"][0]["mean_hu"] == pytest.approx(80, abs=5)
    assert main(["compare", *pair, "--ct", *cts, "--report", "page"]) == 1
    assert "--overwrite" in one_line(capsys)


def test_dates_and_patients_come_from_dicom(dicom_series, tmp_path, capsys):
    import pydicom

    folders = []
    for number, (day, patient) in enumerate((("20240320", "B"), ("20240131", "A"))):
        folder = dicom_series(tmp_path / f"ct{number}", uid=f"1.2.826.0.1.{77 + number}")
        for file in folder.iterdir():
            header = pydicom.dcmread(file)
            header.StudyDate, header.PatientID = day, patient
            header.save_as(file)
        labels = np.zeros((6, 20, 20), np.uint8)
        labels[1:5, 4:14, 4:14] = 1
        write_segmentation(segmentation_of(labels, read_volume(folder).geometry), tmp_path / f"r{number}.nii.gz")
        folders.append(str(folder))
    assert main(["compare", "r0.nii.gz", "r1.nii.gz", "--ct", *folders]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["2024-01-31", "2024-03-20"]
    assert "name different patients" in out and "put in the order" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{0}"], "at least two results"),
        (["{0}", "{1}", "--dates", "2024-01-31"], "--dates needs one for each of the 2 results"),
        (["{0}", "{1}", "--dates", "soon", "later"], "'soon' is no date like 2024-01-31"),
        (["{0}", "{1}", "--report", "page"], "need the CTs"),
        (["{0}", "{1}", "-o", "table.txt"], "ends in .csv or .json"),
        (["{0}", "missing.nii.gz"], "no file or folder 'missing.nii.gz'"),
    ],
)
def test_wrong_use_is_one_line(arguments, words, pair, capsys):
    try:
        status = main(["compare", *(argument.format(*pair) for argument in arguments)])
    except SystemExit as end:
        status = end.code
    assert status in (1, 2)
    assert words in one_line(capsys)
    assert not Path("page").exists() and not Path("table.txt").exists()


def test_a_ct_of_another_grid_is_refused(pair, cts, small_noise, capsys):
    other = write_volume(Volume(small_noise[:20], grid_of(small_noise[:20], (5.0, 4.0, 4.0))), "other.nii.gz")
    assert main(["compare", *pair, "--ct", cts[0], str(other)]) == 1
    assert "is no result of the CT 'other'" in one_line(capsys)


def test_a_result_whose_axes_run_otherwise_is_that_of_its_ct(pair, cts, capsys):
    assert main(["compare", *pair, "--ct", *cts]) == 0
    labels, _ = read_labels(pair[1])
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(sitk.ReadImage(cts[1]))
    sitk.WriteImage(sitk.Flip(image, (True, True, False)), "turned.nrrd")
    first = capsys.readouterr().out
    assert main(["compare", pair[0], "turned.nrrd", "--ct", *cts]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == first.splitlines()[1:]


def test_values_that_mean_no_structure_are_named(pair, capsys):
    labels, geometry = read_labels(pair[1])
    image = sitk.GetImageFromArray(np.where(labels == 0, 77, labels).astype(np.uint8))
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_xyz_mm)
    sitk.WriteImage(image, "more.nrrd")
    assert main(["compare", pair[0], "more.nrrd"]) == 0
    assert "'more.nrrd' has values that mean no structure and are not compared: 77." in one_line(capsys)


def test_an_input_is_never_overwritten(pair, capsys):
    Path("table.csv").symlink_to(pair[0])
    assert main(["compare", *pair, "-o", "table.csv", "--overwrite"]) == 2
    assert "inputs are never changed" in one_line(capsys)


def test_results_of_one_name_are_told_apart_by_their_folders(pair, tmp_path, capsys):
    for folder, path in zip(("january", "march"), pair, strict=True):
        (tmp_path / folder).mkdir()
        Path(path).rename(tmp_path / folder / "ct.seg.nrrd")
    assert main(["compare", "january/ct.seg.nrrd", "march/ct.seg.nrrd"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["january/ct", "march/ct", "change"]
