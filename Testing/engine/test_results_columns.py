"""Every column of measurements is described once, in words and units, and keeps its name and place."""

import csv
import io
import json
from dataclasses import fields
from pathlib import Path

import pytest

from flareseg.cli import main
from flareseg.errors import OutputError, UsageError
from flareseg.results.columns import BOTH, COLUMNS, FEATURES, FLAG, LESION, NUMBER, POINT, STRUCTURE, TEXT, WHOLE
from flareseg.results.measure import Measurement
from flareseg.results.measurement_files import dictionary, dictionary_table, dictionary_text, write_dictionary

PAGE = Path(__file__).parents[2] / "docs" / "measurements.md"
OF_0_2_0 = [
    "case",
    "model",
    "value",
    "structure",
    "lesion",
    "voxels",
    "volume_ml",
    "mean_hu",
    "sd_hu",
    "touches_border",
    "host",
    "longest_mm",
    "perpendicular_mm",
    "longest_start_xyz_mm",
    "longest_end_xyz_mm",
    "perpendicular_start_xyz_mm",
    "perpendicular_end_xyz_mm",
    "expected_dsc",
]
UNITS = {"_ml": "ml", "_mm": "mm", "_cm2": "cm2", "_percent": "%"}


def test_every_field_of_a_measurement_is_a_column_in_the_same_order():
    of_record = [field.name for field in fields(Measurement)]
    assert [column.name for column in COLUMNS] == of_record[:-1] and of_record[-1] == "features"


def test_the_columns_of_version_0_2_0_keep_their_names_and_come_first():
    assert [column.name for column in COLUMNS[: len(OF_0_2_0)]] == OF_0_2_0


def test_no_two_columns_are_called_the_same():
    names = [column.name for column in COLUMNS + FEATURES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("column", COLUMNS + FEATURES, ids=lambda column: column.name)
def test_every_column_says_what_it_is_and_where_it_stands(column):
    assert column.definition and column.source
    assert column.kind in (TEXT, WHOLE, NUMBER, FLAG, POINT) and column.rows in (BOTH, STRUCTURE, LESION)
    assert column.kind in (NUMBER, POINT) or not column.unit


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_the_unit_stands_in_the_name(column):
    wanted = next((unit for end, unit in UNITS.items() if column.name.endswith(end)), "")
    hu = column.name.endswith("_hu") or column.name.startswith("hu_")
    assert column.unit == ("HU" if hu else wanted)


def test_the_dictionary_comes_as_csv_and_json_and_has_every_column(tmp_path, capsys):
    assert main(["measurements", "--dictionary"]) == 0
    shown = capsys.readouterr().out
    write_dictionary(tmp_path / "d.json")
    write_dictionary(tmp_path / "d.csv")
    assert shown == dictionary_text() == (tmp_path / "d.csv").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "d.json").read_text(encoding="utf-8")) == dictionary()
    names = [row["name"] for row in csv.DictReader(io.StringIO(shown))]
    assert names == [column.name for column in COLUMNS + FEATURES]


def test_a_dictionary_is_refused_where_a_file_is_or_under_another_ending(tmp_path):
    write_dictionary(tmp_path / "d.csv")
    with pytest.raises(OutputError, match="exists"):
        write_dictionary(tmp_path / "d.csv")
    with pytest.raises(UsageError, match=r"\.csv, \.json or \.md"):
        write_dictionary(tmp_path / "d.parquet")


def test_the_page_has_the_same_dictionary():
    text = PAGE.read_text(encoding="utf-8")
    assert dictionary_table() in text, "flareseg measurements --dictionary -o table.md makes it anew"
    assert all(column.name in text for column in FEATURES)
