"""`segment --report` of a folder, and `cohort`: one page over all results, made again from what is there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the pictures need Pillow")

from flareseg.cases.manifest import NAME
from flareseg.cli import main
from flareseg.io.files import read_labels, read_volume, write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.results.cohort.summary import STORE, labels_digest
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume


@pytest.fixture
def cts(tmp_path, small_ct) -> Path:
    """Two CTs and a file that is none."""
    for number, name in enumerate("ab"):
        hu = small_ct.hu.copy()
        hu[2, 6, 6 : 8 + number] = 20  # so that their labels differ
        write_volume(Volume(hu, small_ct.geometry), tmp_path / "cts" / f"{name}.nii.gz")
    (tmp_path / "cts" / "broken.nii.gz").write_bytes(b"no CT")
    return tmp_path / "cts"


@pytest.fixture
def results(cts, tmp_path, segment_quickly) -> Path:
    """What `segment` made of them, without reports."""
    assert segment_quickly(cts, "-o", tmp_path / "out") == 1
    return tmp_path / "out"


def cases_on(page: Path) -> dict[str, dict]:
    text = page.read_text(encoding="utf-8")
    facts = json.loads(re.search(r'id="facts">([^<]+)<', text)[1])
    slices = [len(json.loads(found)) for found in re.findall(r'id="slices-\d+">([^<]*)<', text)]
    return {one["title"]: one | {"slices": count} for one, count in zip(facts["cases"], slices, strict=True)}


def digest_of(path: Path) -> str:
    return labels_digest(*read_labels(path))


def test_segmenting_a_folder_with_reports_ends_with_a_page_over_all_of_it(cts, tmp_path, segment_quickly, capsys):
    pytest.importorskip("matplotlib", reason="reports need matplotlib")
    out, reports = tmp_path / "out", tmp_path / "r"
    assert segment_quickly(cts, "-o", out, "--report", reports) == 1
    found = cases_on(reports / "index.html")
    assert set(found) == {"a", "b"} and all(one["slices"] == 6 for one in found.values())
    assert found["a"]["labels"] == digest_of(out / "a.nii.gz") != found["b"]["labels"]
    assert found["a"]["report"] == "./a/report.html"
    text = (reports / "index.html").read_text(encoding="utf-8")
    assert "<strong>Failed.</strong>" in text and "broken.nii.gz" in text
    capsys.readouterr()
    shutil.rmtree(cts)  # the page is made again of what is kept
    (reports / "index.html").unlink()
    assert main(["cohort", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(reports / "index.html")
    assert cases_on(reports / "index.html") == found


def test_one_case_alone_has_no_page_over_all(cts, tmp_path, segment_quickly):
    pytest.importorskip("matplotlib", reason="reports need matplotlib")
    assert segment_quickly(cts / "a.nii.gz", "-o", tmp_path / "o.nii.gz", "--report", tmp_path / "r") == 0
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["overview.png", "report.html"]


def test_a_page_is_made_of_results_without_reports(results, capsys):
    assert main(["cohort", str(results)]) == 0
    page = results / "cohort" / "index.html"
    assert capsys.readouterr().out.strip() == str(page)
    found = cases_on(page)
    assert {name: one["slices"] for name, one in found.items()} == {"a": 6, "b": 6}
    assert found["b"]["labels"] == digest_of(results / "b.nii.gz") and found["a"]["report"] == ""
    assert found["a"]["structures"]["liver"][0] > 0 and len(found["a"]["structures"]) == len(structures())


def test_only_what_has_changed_is_read_again(results, cts):
    assert main(["cohort", str(results)]) == 0
    store = results / "cohort" / STORE
    before = {path.name: path.stat().st_mtime_ns for path in store.iterdir()}
    labels, grid = read_labels(results / "b.nii.gz")
    write_segmentation(
        Segmentation(np.where(labels, 3, 0).astype(np.uint8), grid, structures()), results / "b.nii.gz", overwrite=True
    )
    assert main(["cohort", str(results)]) == 0
    assert [name for name, time in before.items() if (store / name).stat().st_mtime_ns != time] == ["b.json"]
    found = cases_on(results / "cohort" / "index.html")
    assert found["b"]["labels"] == digest_of(results / "b.nii.gz")
    assert found["b"]["structures"]["liver"][0] is None and found["b"]["structures"]["spleen"][0] > 0


def test_results_that_moved_keep_their_pictures_without_the_cts(results, cts, tmp_path):
    assert main(["cohort", str(results)]) == 0
    shutil.rmtree(cts)
    shutil.copytree(results, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert main(["cohort", str(tmp_path / "elsewhere")]) == 0
    assert {one["slices"] for one in cases_on(tmp_path / "elsewhere" / "cohort" / "index.html").values()} == {6}


def test_a_case_whose_ct_or_result_is_gone_stays_a_row_and_stops_no_other(results, cts, capsys):
    (cts / "a.nii.gz").unlink()
    (results / "b.nii.gz").unlink()
    assert main(["cohort", str(results)]) == 0
    assert "a has no pictures: There is no file or folder" in capsys.readouterr().err
    found = cases_on(results / "cohort" / "index.html")
    assert list(found) == ["a"] and found["a"]["slices"] == 0 and found["a"]["labels"] == ""
    assert found["a"]["structures"]["liver"][0] > 0
    assert "Its result is not there any more." in (results / "cohort" / "index.html").read_text(encoding="utf-8")


def test_a_ct_on_another_grid_gives_no_pictures(results, cts, capsys):
    ct = read_volume(cts / "a.nii.gz")
    write_volume(
        Volume(ct.hu[1:], ct.geometry.__class__(ct.hu[1:].shape, ct.geometry.spacing_zyx_mm)),
        cts / "a.nii.gz",
        overwrite=True,
    )
    assert main(["cohort", str(results)]) == 0
    assert "does not lie on the grid" in capsys.readouterr().err


def test_a_manifest_that_somebody_changed_leads_nowhere_else(results, tmp_path):
    line = json.loads((results / NAME).read_text(encoding="utf-8").splitlines()[-1])
    bad = [
        {**line, "status": "done", "case": name, "outputs": {"a.nii.gz": {}}} for name in ("../../x", "..", "a/b", "")
    ]
    (results / NAME).open("a", encoding="utf-8").write("\n".join(map(json.dumps, bad)) + "\n")
    before = {path for path in tmp_path.rglob("*") if "cohort" not in path.parts}
    assert main(["cohort", str(results)]) == 0
    assert {path for path in tmp_path.rglob("*") if "cohort" not in path.parts} == before
    assert set(cases_on(results / "cohort" / "index.html")) == {"a", "b", "../../x", "..", "a/b", ""}


def test_a_folder_without_a_manifest_and_a_page_of_somebody_else_are_refused(results, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["cohort", str(tmp_path / "empty")]) == 1
    assert "has no flareseg_manifest.jsonl that tells of results" in capsys.readouterr().err
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("My page")
    assert main(["cohort", str(results), "--report", str(tmp_path / "site")]) == 1
    assert "exists; use --overwrite" in capsys.readouterr().err
    assert (tmp_path / "site" / "index.html").read_text() == "My page"


@pytest.mark.parametrize("more", [(), ("--skip-existing",)])
def test_a_page_of_somebody_else_is_refused_before_anything_is_segmented(cts, tmp_path, segment_quickly, capsys, more):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("My page")
    assert segment_quickly(cts, "-o", tmp_path / "out", "--report", tmp_path / "site", *more) == 1
    assert "exists; use --overwrite" in capsys.readouterr().err
    assert (tmp_path / "site" / "index.html").read_text() == "My page"
    assert not list(tmp_path.glob("out/*.nii.gz"))


def test_a_page_that_hides_names_has_none(results):
    assert main(["cohort", str(results), "--anonymous"]) == 0
    assert set(cases_on(results / "cohort" / "index.html")) == {"Case 1", "Case 2"}
    assert (
        "broken"
        not in (results / "cohort" / "index.html")
        .read_text(encoding="utf-8")
        .split('id="facts"')[0]
        .split("<tbody>")[1]
    )
