"""The same measurements in .csv, .json and .parquet, whatever cases are called, whole or not at all."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flareseg.cases.outputs import check_table
from flareseg.errors import OutputError, UsageError
from flareseg.labels import by_names
from flareseg.results.columns import COLUMNS, FEATURES, FLAG, NUMBER, POINT, WHOLE
from flareseg.results.measure import measure
from flareseg.results.measurement_files import is_measurements, write_measurements
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

GRID = Geometry((14, 40, 40), (5.0, 1.0, 1.0), (100.0, 0.0, -20.0))
HOSTILE = ("=1+1", "a\nb", "<b>x</b>", "../up", "", "x" * 300, "caf\udcc3", "quote\"d,'")
ALL = [column.name for column in COLUMNS + FEATURES]


def some_rows(features=False):
    """A liver with a lesion, and a spleen that is not there."""
    labels, hu = np.zeros(GRID.shape_zyx, np.uint8), np.full(GRID.shape_zyx, -1000, np.int16)
    labels[2:12, 5:35, 5:35], hu[2:12, 5:35, 5:35] = 1, 110
    labels[4:8, 10:18, 10:20], hu[4:8, 10:18, 10:20] = 14, 40
    found = Segmentation(labels, GRID, by_names(["liver", "spleen", "tumour"]), "a", "default 1.0")
    return measure(found, Volume(hu, GRID, "a"), features=features)


@pytest.fixture(scope="module")
def rows():
    return some_rows()


def from_csv(path):
    """The cells of a .csv as its columns say."""
    columns = {column.name: column for column in COLUMNS + FEATURES}

    def value(name, text):
        kind = columns[name].kind
        if text == "" and name not in ("case", "model"):
            return None
        if kind == WHOLE:
            return int(text)
        if kind == NUMBER:
            return float(text)
        if kind == FLAG:
            return text == "yes"
        return [float(mm) for mm in text.split()] if kind == POINT else text

    with path.open(newline="", encoding="utf-8") as file:
        return [{name: value(name, text) for name, text in row.items()} for row in csv.DictReader(file)]


def from_parquet(path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    return parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("features", [False, True])
def test_all_three_files_hold_the_same(tmp_path, features):
    rows = some_rows(features)
    write_measurements(tmp_path / "m.csv", rows)
    write_measurements(tmp_path / "m.json", rows)
    stored = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert list(stored[0]) == (ALL if features else ALL[: len(COLUMNS)])
    assert [list(row) for row in from_csv(tmp_path / "m.csv")] == [list(row) for row in stored]
    assert from_csv(tmp_path / "m.csv") == stored
    assert json.loads(json.dumps([row.as_row() for row in rows])) == stored


def test_a_parquet_holds_the_same_with_units_and_definitions(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    rows = some_rows(features=True)
    write_measurements(tmp_path / "m.parquet", rows)
    write_measurements(tmp_path / "m.json", rows)
    assert from_parquet(tmp_path / "m.parquet") == json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    schema = parquet.read_schema(tmp_path / "m.parquet")
    for column in COLUMNS + FEATURES:
        about = schema.field(column.name).metadata
        assert (about[b"unit"].decode(), about[b"definition"].decode()) == (column.unit, column.definition)


def test_a_table_without_any_value_in_a_column_keeps_its_type(tmp_path):
    pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    absent = [row for row in some_rows() if not row.voxels]
    write_measurements(tmp_path / "m.parquet", absent)
    [row] = from_parquet(tmp_path / "m.parquet")
    assert (row["structure"], row["voxels"], row["mean_hu"], row["hu_p95"]) == ("spleen", 0, None, None)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_parquet_takes_any_name(rows, tmp_path, name):
    pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    write_measurements(tmp_path / "m.parquet", [replace(rows[0], case=name)])
    [row] = from_parquet(tmp_path / "m.parquet")
    assert row["case"] == name.replace("\udcc3", "\\xc3")


def test_without_pyarrow_one_line_says_what_to_do_and_nothing_is_left(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install pyarrow"):
        write_measurements(tmp_path / "m.parquet", rows)
    assert not list(tmp_path.iterdir())


def test_rows_of_an_earlier_run_without_features_have_empty_cells(tmp_path):
    with_features, without = some_rows(features=True), some_rows()
    write_measurements(tmp_path / "m.csv", [*with_features, *without])
    table = from_csv(tmp_path / "m.csv")
    name = "original_shape_Sphericity"
    assert table[0][name] and table[len(with_features)][name] is None


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_an_earlier_table_may_be_replaced_where_a_run_goes_on(rows, tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / f"m{ending}"
    write_measurements(path, rows)
    assert is_measurements(path)
    check_table(path, overwrite=False, skip_existing=True)
    with pytest.raises(OutputError, match="exists"):
        check_table(path, overwrite=False, skip_existing=False)


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n", b"[1]", b"PAR1 and then nothing", b"\0" * 50, "é".encode()])
@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_a_foreign_file_is_never_taken_for_a_table(tmp_path, ending, content):
    if ending == ".parquet":
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / f"m{ending}"
    path.write_bytes(content)
    assert not is_measurements(path)
    with pytest.raises(OutputError, match="exists"):
        check_table(path, overwrite=False, skip_existing=True)
    assert path.read_bytes() == content


def test_a_table_of_version_0_2_0_may_be_replaced_too(rows, tmp_path):
    path = Path(tmp_path / "m.csv")
    path.write_text(",".join(ALL[:18]) + "\nb,default 1.0,1,liver,,5,0.1,1.00,1.00,no,,,,,,,,\n", encoding="utf-8")
    assert is_measurements(path)
