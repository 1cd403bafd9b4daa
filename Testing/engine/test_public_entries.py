"""The catalogue of public models: what comes with flareseg is complete, and what users add is checked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flareseg.cli import main
from flareseg.errors import UsageError
from flareseg.interop.nnunet.labels import plan_labels
from flareseg.labels import structures as flare_structures
from flareseg.model import catalogue
from flareseg.public.entries import CatalogueError, find_public, read_catalogue

sys.path.insert(0, str(Path(__file__).parent))
from public_replicas import catalogue_of, entry

ADDRESS = "https://example.org/files/model.zip"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without models."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))


def refusal(path: Path) -> str:
    with pytest.raises(CatalogueError) as caught:
        read_catalogue(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 400 + len(str(path))
    return text


def test_the_embedded_entries_say_all_that_a_user_must_know() -> None:
    entries = read_catalogue()
    assert len(entries) == 15
    for one in entries:
        assert one.title and one.purpose and one.licence and one.authors and one.citation and one.page and one.tried
        assert "not tried" in one.tried, "nobody claims what could not be done here"
        assert one.axes is not None and not one.own
        assert all(address.startswith("https://") for address in one.addresses)
        assert (one.terms == "unread") == one.licence.startswith("see the record at https://")
        assert one.terms == "open" or "NC" in one.licence or one.terms == "unread"


def test_the_embedded_entries_have_the_digests_and_sizes_that_are_published() -> None:
    by_name = {one.name: one for one in read_catalogue()}
    assert by_name["totalsegmentator-3mm"].bytes == 135_386_075
    assert by_name["totalsegmentator-3mm"].file_name == "Dataset297_TotalSegmentator_total_3mm_1559subj.zip"
    assert by_name["totalsegmentator-liver-lesions"].sha256 == (
        "b3bdd53de65dc64a46264edfdeb491b18e8f95973a691eeccfa530d1da1678a0"
    )
    assert {name for name, one in by_name.items() if one.sha256} == {
        *("totalsegmentator-liver-lesions", "cads-organs", "cads-cardiac")
    }


def test_structures_of_a_whole_body_net_are_117_and_flares_organs_are_among_them() -> None:
    by_name = {one.name: one for one in read_catalogue()}
    organs = {one.name for one in flare_structures()} - {"tumour"}

    def flares(name: str) -> set[str]:
        labels = {"background": 0} | {label: n for n, label in enumerate(by_name[name].structures, 1)}
        return set(plan_labels(labels).values()) & organs

    assert len(by_name["totalsegmentator-3mm"].structures) == 117
    assert flares("totalsegmentator-3mm") == organs
    assert flares("totalsegmentator-organs") == organs - {"aorta", "inferior_vena_cava"}
    assert flares("totalsegmentator-organs") | flares("totalsegmentator-cardiac") == organs
    assert flares("cads-organs") | flares("cads-cardiac") == organs


def test_lesion_nets_say_around_what_they_look() -> None:
    by_name = {one.name: one for one in read_catalogue()}
    liver = by_name["totalsegmentator-liver-lesions"].lesions
    assert liver is not None and (liver.hosts, liver.margin_mm) == (("liver",), 10.0)
    vessels = by_name["totalsegmentator-liver-vessels"]
    assert vessels.lesions is not None and vessels.lesions.labels == (vessels.structures[1],)
    known = {one.name for one in flare_structures()} | set(by_name["totalsegmentator-3mm"].structures)
    assert all(set(one.lesions.hosts) <= known for one in by_name.values() if one.lesions)


def test_a_file_of_the_user_adds_entries_and_may_use_the_embedded_lists(tmp_path: Path) -> None:
    write = catalogue_of(tmp_path / "data" / "catalogue.json")
    write(entry(ADDRESS), entry(ADDRESS, name="own-total", structures="totalsegmentator-total"))
    own = read_catalogue()[15:]
    assert [(one.name, len(one.structures), one.own) for one in own] == [("replica", 2, True), ("own-total", 117, True)]
    other = catalogue_of(tmp_path / "other.json")(entry(ADDRESS, name="another"))
    assert [one.name for one in read_catalogue(other)[15:]] == ["another"], "instead of the user's usual file"
    assert find_public("another", read_catalogue(other)).tried == "not stated"
    with pytest.raises(UsageError, match="flareseg models available"):
        find_public("replica", read_catalogue(other))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ...}, "model 1: it has no 'name'"),
        ({"name": "../x"}, "'name' is not made of letters"),
        ({"title": "two\nlines"}, "'title' is no line of text"),
        ({"title": 3}, "'title' is no line of text"),
        ({"structures": []}, "'structures' is no list"),
        ({"structures": ["a", "a"]}, "names something twice"),
        ({"structures": "no-such-list"}, "'structures' is no list"),
        ({"licence": " "}, "'licence' is empty"),
        ({"terms": "free"}, "none of open, non-commercial, unread"),
        ({"terms": []}, "none of open"),
        ({"citation": ...}, "it has no 'citation'"),
        ({"addresses": ADDRESS}, "'addresses' is no list"),
        ({"addresses": ["http://example.org/x.zip"]}, "is no https address"),
        ({"addresses": ["file:///etc/passwd"]}, "is no https address"),
        ({"addresses": ["https://"]}, "is no https address"),
        ({"bytes": True}, "'bytes' is no number of bytes"),
        ({"bytes": -1}, "'bytes' is no number of bytes"),
        ({"sha256": "abc"}, "'sha256' is not 64"),
        ({"layout": "pickle"}, "'layout' is none of"),
        ({"axes": "RAS"}, "'axes' is none of ras, lps, stored"),
        ({"lesions": {"label": "tumor"}}, "'lesions' has other parts"),
        ({"lesions": {"label": "cyst", "host": ["liver"], "margin_mm": 5}}, "'cyst' of 'lesions' is none"),
        ({"lesions": {"label": "tumor", "host": ["liver"], "margin_mm": float("nan")}}, "margin_mm"),
        ({"colour": "red"}, "it has 'colour', which no entry has"),
    ],
)
def test_what_is_wrong_in_an_entry_is_one_line(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(catalogue_of(tmp_path / "c.json")(entry(ADDRESS, **changes)))


def test_no_entry_takes_the_name_of_another(tmp_path: Path) -> None:
    write = catalogue_of(tmp_path / "c.json")
    for name in ("totalsegmentator-3mm", "TotalSegmentator-3mm", "default"):
        assert "a name that is taken" in refusal(write(entry(ADDRESS, name=name)))
    assert "two models of one name" in refusal(write(entry(ADDRESS), entry(ADDRESS, name="REPLICA")))


def test_a_file_that_is_no_catalogue_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for text in ("", "{", "[]", '{"format": 1}', '{"format": 1, "models": {}}', '{"a": ' * 100_000, "\0"):
        path.write_text(text)
        assert "is damaged" in refusal(path)
    path.write_text('{"format": 2, "models": []}')
    assert "update flareseg" in refusal(path)
    for lists in ({"a": [3]}, {"a": "b"}, {"a": []}, 7):
        assert "is wrong at its structure_lists: is no " in refusal(catalogue_of(path)(structure_lists=lists))
    for row in (3, None, [], "x"):
        assert "model 1: is no table" in refusal(catalogue_of(path)(row))
    assert "There is no catalogue file" in refusal(tmp_path / "none.json")
    assert "There is no catalogue file" in refusal(tmp_path)


def test_the_list_tells_people_and_programs_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "available"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^totalsegmentator-3mm +117 +Apache-2.0 +135 MB$", text, re.MULTILINE)
    assert re.search(r"^bamf-liver +2 +CC-BY-NC-4.0 \(non-commercial\) +unknown$", text, re.MULTILINE)
    assert re.search(r"^msd-pancreas +2 +to be read on its page +unknown$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) < 120
    assert main(["models", "available", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["event"] == "available" and len(told["models"]) == 15
    assert told["models"][0]["installed"] == [] and told["models"][0]["bytes"] == 135_386_075


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_page_on_models_says_what_the_catalogue_says() -> None:
    rows = re.findall(r"^\| \[`([^`]+)`\]\(([^)]+)\) \| (\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == [one.name for one in read_catalogue()]
    for one, (_, page, count, licence, size, axes) in zip(read_catalogue(), rows, strict=True):
        assert (page, int(count), axes.lower()) == (one.page, len(one.structures), one.axes)
        assert size == (f"{round(one.bytes / 1e6)} MB" if one.bytes else "unknown")
        assert licence.startswith("[to be read" if one.terms == "unread" else one.licence)


def test_the_pages_example_of_a_catalogue_is_one(tmp_path: Path) -> None:
    [example] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "c.json").write_text(example, encoding="utf-8")
    assert [one.name for one in read_catalogue(tmp_path / "c.json")[15:]] == ["our-liver"]


def test_a_damaged_file_of_the_user_is_one_line_and_the_other_commands_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalogue.json").write_text("{")
    assert main(["models", "available"]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert main(["models", "list"]) == 0


def test_names_of_entries_are_free_for_the_user() -> None:
    embedded = {folder.name for folder in catalogue.EMBEDDED.iterdir()}
    assert not embedded & {one.name for one in read_catalogue()}


ALONE = """
import sys
import flareseg
from flareseg.cli import main
main(["segment", "none.nii.gz"])
main(["models", "list"])
print([name for name in sys.modules if name.startswith("flareseg.public")])
print([name for name in ("ssl", "http.client", "urllib.request") if name in sys.modules])
"""


def test_nothing_of_it_is_loaded_unless_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"]
