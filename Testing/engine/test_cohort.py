"""The page over many cases: what stands out comes first, what failed is there with its reason, names stay text."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("PIL", reason="the pictures need Pillow")

from cohorts import HOSTILE, USUAL_ML, a_cohort, a_result, a_summary

from flareseg.errors import OutputError
from flareseg.labels import by_name
from flareseg.results.cohort import page
from flareseg.results.cohort.outliers import FAR, standings
from flareseg.results.cohort.page import CohortCase, check_page, write_page
from flareseg.results.cohort.pictures import slices_of
from flareseg.results.cohort.summary import (
    Warned,
    labels_digest,
    read_slices,
    read_summary,
    summarise,
    summary_of_rows,
    write_summary,
)
from flareseg.results.measure import measure
from flareseg.volume import Geometry


def facts_of(text: str) -> dict:
    return json.loads(re.search(r'id="facts">([^<]+)<', text)[1])


def written(cases, tmp_path: Path, **options) -> str:
    path = tmp_path / "index.html"
    write_page(cases, path, **options)
    return path.read_text(encoding="utf-8")


# What stands out


def test_a_volume_far_from_the_others_stands_out_by_its_robust_score() -> None:
    cases = [a_summary(number) for number in range(20)]
    cases[3] = a_summary(3, spleen=USUAL_ML["spleen"] / 40)
    found = standings(cases)
    logarithms = np.log([one.structures[1].volume_ml for one in cases])
    middle = np.median(logarithms)
    spread = max(1.4826 * np.median(np.abs(logarithms - middle)), 0.05)
    assert found[3].scores["spleen"] == pytest.approx((logarithms[3] - middle) / spread)
    assert found[3].unusual and found[3].reasons[0].text.startswith("Spleen small (z \N{MINUS SIGN}")
    assert not any(one.unusual for number, one in enumerate(found) if number != 3)
    assert all(abs(one.scores["liver"]) < FAR for one in found)


def test_a_cut_organ_can_only_be_too_large_and_tumours_are_of_any_size() -> None:
    cases = [a_summary(number) for number in range(12)]
    for number, ml in ((2, 20.0), (5, 30_000.0)):
        liver = replace(cases[number].structures[0], volume_ml=ml, cut=True)
        tumour = replace(liver, name="tumour", title="Tumour", volume_ml=ml)
        cases[number] = replace(cases[number], structures=(liver, *cases[number].structures[1:], tumour))
    found = standings(cases)
    assert "liver" not in found[2].scores and not found[2].unusual
    assert found[5].scores["liver"] > FAR
    assert not any("tumour" in one.scores for one in found)


def test_a_structure_that_nearly_all_have_is_missed_and_low_expectations_count() -> None:
    cases = [a_summary(number) for number in range(12)]
    cases[1] = a_summary(1, pancreas=None)
    unsure = replace(cases[2].structures[1], expected_dsc=0.42)
    cases[2] = replace(
        cases[2],
        structures=(cases[2].structures[0], unsure, cases[2].structures[2]),
        warnings=(Warned("low_confidence", "Check this.", ("spleen",)), Warned("metal", "Metal.", ())),
    )
    found = standings(cases)
    assert [reason.text for reason in found[1].reasons] == ["Pancreas not found"] and found[1].unusual
    assert [reason.text for reason in found[2].reasons] == ["Spleen: expected DSC 0.42", "Metal"]
    assert found[2].rank > found[1].rank > found[0].rank


def test_few_cases_have_no_usual_volume() -> None:
    found = standings([a_summary(0), a_summary(1, spleen=1.0, pancreas=None)])
    assert not any(one.scores or one.reasons for one in found)


# What is kept of a case


def test_a_summary_comes_back_as_it_was_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    segmentation, volume = a_result()
    made = replace(summarise(segmentation, volume, measure(segmentation, volume)), stamp=(12, 34))
    path = tmp_path / "store" / "a.json"
    write_summary(made, path)
    assert read_summary(path) == made
    assert made.labels_sha256 == labels_digest(segmentation.labels, segmentation.geometry)
    assert [one.plane for one in made.slices] == ["coronal", "axial", "axial", "axial", "axial", "sagittal"]
    assert [one.plane for one in made.slices if one.first] == ["coronal", "axial"]
    good = path.read_text(encoding="utf-8")
    for bad in ("", "[]", "{}", "null", good[:-40], good.replace('"data:image', '"https://image'), "[" * 10**5):
        path.write_text(bad, encoding="utf-8")
        assert read_summary(path) is None
    assert read_summary(tmp_path / "missing.json") is None


def test_the_labels_of_a_slice_are_those_of_the_result() -> None:
    segmentation, volume = a_result()
    coronal = slices_of(segmentation, volume)[0]
    shown = np.frombuffer(gzip.decompress(base64.b64decode(coronal.labels)), np.uint8)
    shown = shown.reshape(coronal.height, coronal.width)
    right, left = np.nonzero(shown == by_name("liver").value)[1], np.nonzero(shown == by_name("spleen").value)[1]
    assert right.max() < left.min()  # the patient's right is on the left, as radiologists look
    assert coronal.letters[:2] == ("R", "L")


def test_a_digest_is_that_of_the_voxels_whatever_the_order_of_the_axes() -> None:
    segmentation, _ = a_result()
    labels, grid = segmentation.labels, segmentation.geometry
    turned = Geometry(grid.shape_zyx, grid.spacing_zyx_mm, (310.0, 230.0, 0.0), ((-1, 0, 0), (0, -1, 0), (0, 0, 1)))
    assert labels_digest(labels[:, ::-1, ::-1], turned) == labels_digest(labels, grid)
    other = labels.copy()
    other[0, 0, 0] = 1
    assert labels_digest(other, grid) != labels_digest(labels, grid)


def test_rows_that_make_no_sense_are_passed_over() -> None:
    good = {"structure": "liver", "value": 1, "lesion": None, "voxels": 5, "volume_ml": 1.5, "touches_border": False}
    bad = [{}, {**good, "voxels": "many"}, {**good, "value": None}, {"lesion": "x"}, {**good, "voxels": math.inf}]
    odd = [{**good, "structure": name, "volume_ml": ml} for name, ml in (("spleen", math.nan), ("aorta", -3.0))]
    found = summary_of_rows([*bad, {**good, "volume_ml": 10**400}, *odd, good])
    assert [(one.name, one.volume_ml) for one in found.structures] == [
        ("spleen", None),
        ("aorta", None),
        ("liver", 1.5),
    ]
    assert standings([found] * 12)[0].scores == {"liver": 0.0}


# The page


def test_failures_come_first_then_what_stands_out_then_the_others_by_name(tmp_path: Path) -> None:
    text = written(a_cohort(), tmp_path)
    shown = [one["title"] for one in facts_of(text)["cases"]]
    assert shown[0] == "small_spleen" and shown[2:4] == ["case_0", "case_1"]
    body = re.sub(r"<[^>]+>", " ", text.split("<tbody>")[1].split("</tbody>")[0].replace("<wbr>", ""))
    assert body.index("not_read") < body.index("Failed.") < body.index("It is damaged") < body.index("spleen")
    assert "Cohort: 12 cases · 1 unusual · 1 failed" in text


def test_hostile_names_and_reasons_stay_text_and_nothing_is_fetched(tmp_path: Path) -> None:
    text = written(a_cohort(), tmp_path)
    assert "<img src=x" not in text and text.count("<script>") == 1
    assert HOSTILE in [one["name"] for one in facts_of(text)["cases"]]
    assert not re.search(r"https?://|@import|\burl\(", re.sub(r'data:image/[a-z]+;base64,[^"]+', "", text))
    assert "default-src 'none'" in text


def test_an_anonymous_page_names_no_case(tmp_path: Path) -> None:
    cases = [CohortCase(one.name.replace("case", "Mustermann"), one.summary, one.failure) for one in a_cohort()]
    noted = replace(cases[0].summary, notes=("Series of Mustermann.",))
    failed = CohortCase("Mustermann_19700101", failure="'/data/Mustermann.nii.gz' is damaged.")
    text = written(
        [replace(cases[0], summary=noted, report="./Mustermann/report.html"), *cases[1:], failed],
        tmp_path,
        anonymous=True,
    )
    assert "Mustermann" not in text and "19700101" not in text and "small_spleen" not in text
    assert [one["name"] for one in facts_of(text)["cases"]][:2] == ["Case 1", "Case 2"]
    assert "left out" in text


def test_with_many_cases_each_has_two_slices_and_with_more_the_first_ones_alone(tmp_path: Path, monkeypatch) -> None:
    def counts(text: str) -> list[int]:
        return [len(json.loads(found)) for found in re.findall(r'id="slices-\d+">([^<]*)<', text)]

    cases = a_cohort(12)
    assert counts(written(cases, tmp_path)) == [6] * 12
    monkeypatch.setattr(page, "ALL_SLICES_UP_TO", 11)
    monkeypatch.setattr(page, "TWO_SLICES_UP_TO", 5)
    assert counts(written(cases, tmp_path)) == [2] * 5 + [0] * 7


def test_pictures_of_other_labels_are_not_shown_beside_a_case(tmp_path: Path) -> None:
    summary = a_summary(3)
    write_summary(summary, tmp_path / "case.json")
    assert read_slices(tmp_path / "case.json", summary.labels_sha256) == summary.slices
    assert read_slices(tmp_path / "case.json", "0" * 64) == ()
    assert read_slices(tmp_path / "none.json", summary.labels_sha256) == ()


def test_a_page_of_ours_is_replaced_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    check_page(path)
    write_page([], path)
    check_page(path)
    path.write_text("<p>A page of somebody's own", encoding="utf-8")
    with pytest.raises(OutputError, match="exists"):
        check_page(path)
    check_page(path, overwrite=True)
