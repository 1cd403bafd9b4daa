"""Files of reviews are checked word by word when they are read, and those of several readers are put together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flareseg.errors import InputError
from flareseg.results.reviews import agreed, read_reviews

GOOD = {
    "case": "p1", "labels_sha256": "a" * 64, "reviewer": "A. Reader", "time": "2026-01-31T12:00:00.000Z",
    "verdict": "accept", "structures": {"spleen": "wrong"}, "shown": ["liver", "spleen", "tumour"],
    "absent": [],
}  # fmt: skip


def a_file(folder: Path, *entries: dict, name: str = "a.json", **more: object) -> Path:
    path = folder / name
    path.write_text(json.dumps({"flareseg_review": 1, "reviews": list(entries), **more}), encoding="utf-8")
    return path


def test_a_verdict_on_the_case_holds_for_structures_that_have_none_of_their_own(tmp_path: Path) -> None:
    [review] = read_reviews([a_file(tmp_path, GOOD)])
    assert review.of_structures() == {"liver": "right", "spleen": "wrong", "tumour": "right"}
    [review] = read_reviews([a_file(tmp_path, {**GOOD, "verdict": None})])
    assert review.of_structures() == {"spleen": "wrong"}
    [review] = read_reviews([a_file(tmp_path, {**GOOD, "verdict": "reject", "structures": {"liver": "right"}})])
    assert review.of_structures() == {"liver": "right", "spleen": "wrong", "tumour": "wrong"}


def test_accepting_a_case_says_nothing_of_what_was_not_found_in_it(tmp_path: Path) -> None:
    def said(**more: object) -> dict[str, str]:
        [review] = read_reviews([a_file(tmp_path, {**GOOD, "structures": {}, "absent": ["tumour"], **more})])
        return review.of_structures()

    assert said() == {"liver": "right", "spleen": "right"}
    assert said(structures={"tumour": "right"}) == {"liver": "right", "spleen": "right", "tumour": "right"}
    assert said(verdict="reject") == {"liver": "wrong", "spleen": "wrong", "tumour": "wrong"}


def test_of_one_reader_the_later_review_counts_and_of_several_what_they_agree_on(tmp_path: Path) -> None:
    files = [
        a_file(tmp_path, {**GOOD, "time": "2026-01-31T14:00:00+01:00", "structures": {}}, name="new.json"),
        a_file(tmp_path, {**GOOD, "time": "2026-01-31T12:30:00Z"}, name="old.json"),
        a_file(tmp_path, {**GOOD, "reviewer": " B.\tReader ", "structures": {"liver": "unsure"}}, name="other.json"),
    ]
    reviews = read_reviews(files)
    assert [(review.reviewer, dict(review.structures)) for review in reviews] == [
        ("A. Reader", {}),
        ("B. Reader", {"liver": "unsure"}),
    ]
    assert agreed(reviews) == {"liver": "unsure", "spleen": "right", "tumour": "right"}
    assert agreed([]) == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "accepted"}, "the verdict 'accepted' is none of accept, reject, unsure"),
        ({"verdict": ["accept"]}, "is none of accept, reject, unsure"),
        ({"structures": {"liver": "good"}}, "'liver' is 'good', none of right, wrong, unsure"),
        ({"structures": {"liver": ["right"]}}, r"'liver' is \"\['right'\]\", none of"),
        ({"structures": {"colon": "right"}}, "'colon' is judged, but was not shown"),
        ({"structures": ["liver"]}, "'structures' is no table"),
        ({"shown": "liver"}, "'shown' is no list of names"),
        ({"absent": ["colon"]}, "'absent' is no list of names that were shown"),
        ({"labels_sha256": "A" * 64}, "'labels_sha256' is no SHA-256"),
        ({"labels_sha256": "a" * 64 + "\n"}, "'labels_sha256' is no SHA-256"),
        ({"time": "yesterday"}, "'yesterday' is no time like"),
        ({"time": "2026-01-31T12:00:00"}, "has no time zone"),
        ({"reviewer": " "}, "'reviewer' is no text"),
        ({"case": 7}, "'case' is no text"),
        ({"comment": "x"}, "it has 'comment', which nobody knows"),
    ],
)
def test_what_is_wrong_with_a_review_is_said_in_one_line(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(InputError, match=f"a.json' is damaged: review 2 of 2: .*{said}") as caught:
        read_reviews([a_file(tmp_path, GOOD, {**GOOD, **change})])
    assert len(str(caught.value).splitlines()) == 1


def test_files_that_are_none_of_reviews_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    texts = {
        "": "it is no JSON",
        "[1, 2]": "is no file of reviews, as the page",
        "[" * 10**5: "it is no JSON",
        '{"reviews": []}': "is no file of reviews",
        '{"flareseg_review": 2, "reviews": []}': "of version 2; this flareseg reads 1",
        '{"flareseg_review": true, "reviews": []}': "of version True",
        '{"flareseg_review": 1}': "has no list of reviews",
        '{"flareseg_review": 1, "reviews": [3]}': "review 1 of 1: it is no table",
        '{"flareseg_review": 1, "reviews": [{"case": "x"}]}': "it lacks 'absent'",
    }
    for text, said in texts.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            read_reviews([path])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="it is no JSON"):
        read_reviews([path])
    with pytest.raises(InputError, match="is a folder"):
        read_reviews([tmp_path])
    with pytest.raises(InputError, match="There is no file"):
        read_reviews([tmp_path / "missing.json"])
