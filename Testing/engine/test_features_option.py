"""`flareseg segment --features`: in the table, over many cases, and where an earlier run is gone on with."""

import csv
import json

import pytest

from flareseg.cases.manifest import NAME
from flareseg.io.files import write_volume
from flareseg.results.columns import COLUMNS, FEATURES

SPHERICITY = "original_shape_Sphericity"


@pytest.fixture
def run(segment_quickly, small_ct, tmp_path, capsys):
    """Segments two CTs, or those that are there of them, and gives exit status and standard error."""
    for name in ("a", "b"):
        write_volume(small_ct, tmp_path / "cts" / f"{name}.nii.gz")

    def command(*options):
        status = segment_quickly(tmp_path / "cts", "-o", tmp_path / "out", "--skip-existing", *options)
        return status, capsys.readouterr().err

    return command


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def found(rows):
    return [row for row in rows if int(row["voxels"])]


def test_every_case_has_them_and_a_run_that_goes_on_keeps_them(run, tmp_path):
    options = ("--measurements", tmp_path / "m.csv", "--features")
    assert run(*options)[0] == 0
    rows = table(tmp_path / "m.csv")
    assert list(rows[0]) == [column.name for column in COLUMNS + FEATURES]
    assert {row["case"] for row in rows} == {"a", "b"}
    assert found(rows) and any(row[SPHERICITY] for row in found(rows))
    assert run(*options)[0] == 0
    assert table(tmp_path / "m.csv") == rows


def test_cases_that_were_done_without_them_are_named_and_have_empty_cells(run, tmp_path):
    assert run("--measurements", tmp_path / "m.csv")[0] == 0
    assert list(table(tmp_path / "m.csv")[0]) == [column.name for column in COLUMNS]
    (tmp_path / "out" / "b.nii.gz").unlink()
    status, text = run("--measurements", tmp_path / "m.csv", "--features")
    assert status == 0 and "1 case was done before without features" in text
    rows = found(table(tmp_path / "m.csv"))
    assert {row["case"] for row in rows} == {"a", "b"}
    assert not any(row[SPHERICITY] for row in rows if row["case"] == "a")
    assert any(row[SPHERICITY] for row in rows if row["case"] == "b")


def test_rows_that_somebody_spoilt_end_no_run(run, tmp_path):
    assert run()[0] == 0
    manifest = tmp_path / "out" / NAME
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line]
    manifest.write_text(
        "".join(json.dumps(line | {"rows": [{}, {"voxels": "many"}]}) + "\n" for line in lines), encoding="utf-8"
    )
    (tmp_path / "out" / "b.nii.gz").unlink()
    assert run("--measurements", tmp_path / "m.csv", "--features")[0] == 0
    assert {row["case"] for row in table(tmp_path / "m.csv")} == {"b"}


def test_rows_of_an_earlier_version_have_what_it_knew(run, tmp_path):
    assert run("--measurements", tmp_path / "m.csv")[0] == 0
    before = table(tmp_path / "m.csv")
    new = [column.name for column in COLUMNS[18:]] + ["features"]
    manifest = tmp_path / "out" / NAME
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line]
    for line in lines:
        line["rows"] = [{name: value for name, value in row.items() if name not in new} for row in line["rows"]]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert run("--measurements", tmp_path / "m.csv")[0] == 0
    after = table(tmp_path / "m.csv")
    assert [{**row, **dict.fromkeys(new[:-1], "")} for row in before] == after


def test_without_a_table_to_put_them_in_they_are_refused(segment_quickly, tmp_path, capsys):
    assert segment_quickly(tmp_path, "-o", tmp_path / "o.nii.gz", "--features") == 2
    assert "add --measurements FILE" in capsys.readouterr().err
