"""Names of files in tables, pages, events and on terminals."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from flareseg.commands.console import JsonListener, SilentListener, print_line
from flareseg.labels import by_name
from flareseg.results.evaluate import CaseScores, Table, write_csv
from flareseg.results.measure import Measurement, measure
from flareseg.results.measurement_files import write_measurements
from flareseg.results.metrics import Score
from flareseg.segmentation import Segmentation
from flareseg.text import as_json, cell_text, shortened, visible

LATIN1 = "M\udcfcller"
"""As Python gives a name of bytes that are no UTF-8."""
FORMULAS = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201"]
NAMES = ['a"b', "a,b", "a;b", "a\nb", "a\rb", "a\r\nb", "a\u2028b", "ä 腹部", LATIN1, "'x"]


def row(case: str) -> Measurement:
    return Measurement(case, "m 1", 1, "liver", None, 9, 1.5, -42.25, 3.0, False)


def cells(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", FORMULAS)
def test_no_text_of_a_table_is_a_formula_and_numbers_stay_numbers(tmp_path, name):
    write_measurements(tmp_path / "m.csv", [row(name)])
    (found,) = cells(tmp_path / "m.csv")
    assert found["case"] == f"'{name}"
    assert found["mean_hu"] == "-42.25"
    score = Score(by_name("liver"), -0.0, 0.5, 1.0, 2.0)
    write_csv(Table([CaseScores(name, [score])]), tmp_path / "s.csv")
    assert cells(tmp_path / "s.csv")[0]["case"] == f"'{name}"


@pytest.mark.parametrize("name", FORMULAS + NAMES)
def test_json_holds_names_as_they_are(tmp_path, name):
    write_measurements(tmp_path / "m.json", [row(name)])
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))[0]["case"] == name


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_break_no_row_of_a_table(tmp_path, name):
    write_measurements(tmp_path / "m.csv", [row(name), row("next")])
    found = cells(tmp_path / "m.csv")
    assert [one["volume_ml"] for one in found] == ["1.500", "1.500"]
    assert found[0]["case"] == name.replace("\udcfc", "\\xfc")


def test_words_that_only_hold_a_sign_are_left_as_they_are():
    for name in ("p-1", "a=b", "1+1", "p@home", "", "x"):
        assert cell_text(name) == name


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("name", FORMULAS + NAMES)
def test_events_are_one_line_of_json_in_every_encoding(name, encoding):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    listener = JsonListener(stream)
    listener.begin(name)
    listener.done(f"/out/{name}.nii.gz", [row(name)])
    stream.flush()
    text = raw.getvalue().decode(encoding)
    assert text.count("\n") == 1
    event = json.loads(text)
    assert (event["case"], event["output"]) == (name, f"/out/{name}.nii.gz")
    assert event["measurements"][0]["case"] == name


@pytest.mark.parametrize("name", [*NAMES, "a\x1b[2Jb", "a\x85b"])
def test_messages_are_one_line_without_controls(name, capsys):
    SilentListener().error(f"'{name}' cannot be read.")
    text = capsys.readouterr().err
    assert text.endswith(" cannot be read.\n") and len(text.splitlines()) == 1 and "\x1b" not in text
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    print_line(name, stream)
    assert len(raw.getvalue().decode("utf-8").splitlines()) == 1


def test_bytes_that_are_no_utf8_are_shown_as_bytes():
    assert visible(LATIN1) == "M\\xfcller"
    assert json.loads(as_json({"a": LATIN1}).encode("utf-8")) == {"a": LATIN1}


def test_a_long_text_is_cut_to_one_short_line():
    assert shortened("a\nb", 10) == "a\\nb"
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened("x" * 11, 10) == "xxxxxxx..."
    assert len(shortened("\n" * 10**6, 10)) == 10


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b', "a\nb", LATIN1, "$\\frac$", "$x", "=1+1"])
def test_a_report_shows_odd_names_and_is_utf8(tmp_path, small_ct, name):
    pytest.importorskip("matplotlib", reason="reports need matplotlib")
    from flareseg.results.report import write_report

    labels = (small_ct.hu > 80).astype(np.uint8)
    result = Segmentation(labels, small_ct.geometry, (by_name("liver"),), name, notes=(f"Left out: '{name}'.",))
    volume = replace(small_ct, name=name)
    page = write_report(result, volume, tmp_path / "r", measure(result, volume))[1].read_bytes().decode("utf-8")
    assert page.count("<script>") == 1 and "alert" not in page.split("<script>")[1]  # its own
    assert page.count("<h1>") == 1
