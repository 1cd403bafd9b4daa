"""The page over many cases in a browser: it sorts, filters, takes verdicts by keys, saves, loads, and loses none.

Needs Chromium, as Debian's `chromium-headless-shell`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("PIL", reason="the pictures need Pillow")

from browser import Browser, browser_path
from cohorts import HOSTILE, a_cohort

from flareseg.results.cohort.page import write_page
from flareseg.results.reviews import Review, read_reviews

pytestmark = pytest.mark.skipif(browser_path() is None, reason="there is no Chromium here")

SPLEEN_KEY, PANCREAS_KEY = "2", "3"  # liver, spleen, pancreas
SMALL_SPLEEN = f"{4:064x}"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str]]:
    folder = tmp_path_factory.mktemp("cohort")
    write_page(a_cohort(), folder / "index.html")
    with Browser(folder / "profile", width=1280, height=900) as browser:
        yield browser, (folder / "index.html").as_uri()


@pytest.fixture
def browser(opened: tuple[Browser, str]) -> Browser:
    """The page, as if it were opened for the first time."""
    browser, address = opened
    go_to(browser, address)
    browser.evaluate("localStorage.clear()")
    go_to(browser, address)
    return browser


def go_to(browser: Browser, address: str) -> None:
    """Open the page; where it asks whether the one before may be left, the answer is yes."""
    browser.dialogs.clear()
    browser.open(address)
    browser.until("document.documentElement.classList.contains('complete')")


def reopen(browser: Browser) -> None:
    go_to(browser, browser.evaluate("location.href"))


def read_as(browser: Browser, name: str) -> None:
    browser.evaluate(
        f"(() => {{ const box = document.getElementById('reader'); box.value = {json.dumps(name)};"
        " box.dispatchEvent(new Event('input')); })()"
    )


def begin(browser: Browser, name: str = "A. Reader") -> None:
    read_as(browser, name)
    browser.evaluate("document.getElementById('reader').focus()")
    browser.key("Enter")
    browser.until("document.querySelectorAll('#pictures canvas').length === 6")


def click(browser: Browser, selector: str) -> None:
    browser.evaluate(f"document.querySelector({selector!r}).click()")


def text(browser: Browser, selector: str) -> Any:
    return browser.evaluate(f"document.querySelector({selector!r}).textContent")


def rows(browser: Browser) -> list[str]:
    """The names of the rows that are shown."""
    return list(
        browser.evaluate(
            "[...document.querySelectorAll('#cases tbody tr')].filter((row) => !row.hidden)"
            ".map((row) => row.cells[1].textContent)"
        )
    )


def set_to(browser: Browser, control: str, value: str) -> None:
    browser.evaluate(
        f"(() => {{ const box = document.getElementById({control!r}); box.value = {json.dumps(value)};"
        " box.dispatchEvent(new Event('input')); box.dispatchEvent(new Event('change')); })()"
    )


def saved(browser: Browser, folder: Path) -> list[Review]:
    """What the button saves, as Python reads it."""
    browser.evaluate(
        "(() => { window.kept = null; const make = URL.createObjectURL;"
        " URL.createObjectURL = (blob) => { window.kept = blob; return make(blob); };"
        " HTMLAnchorElement.prototype.click = function () { window.named = this.download; }; })()"
    )
    click(browser, "#save")
    path = folder / browser.evaluate("window.named")
    path.write_text(browser.evaluate("window.kept.text()"), encoding="utf-8")
    return read_reviews([path])


def load(browser: Browser, *texts: str) -> str:
    """What the page says to files that a reader chooses."""
    files = ", ".join(f"new File([{json.dumps(one)}], 'file_{number}.json')" for number, one in enumerate(texts))
    browser.evaluate(
        f"(() => {{ const moved = new DataTransfer(); for (const one of [{files}]) moved.items.add(one);"
        " const box = document.getElementById('files'); box.files = moved.files;"
        " box.dispatchEvent(new Event('change')); })()"
    )
    browser.until("document.getElementById('message').textContent !== ''")
    return str(text(browser, "#message"))


def as_file(*reviews: dict) -> str:
    return json.dumps({"flareseg_review": 1, "saved": "2026-01-01T00:00:00Z", "reviews": reviews})


def a_review(**more: Any) -> dict:
    return {
        "case": "small_spleen", "labels_sha256": SMALL_SPLEEN, "reviewer": "B", "time": "2026-01-31T12:00:00Z",
        "verdict": "accept", "structures": {}, "shown": ["liver", "spleen", "pancreas"],
        "absent": [],
    } | more  # fmt: skip


def test_the_table_begins_with_what_failed_and_what_stands_out_and_shows_slices(browser: Browser) -> None:
    assert rows(browser)[:2] == ["not_read", "small_spleen"]
    browser.until("document.querySelectorAll('#cases canvas').length > 4")
    assert text(browser, "#cases tbody tr:nth-child(2) .why li").startswith("Spleen small")
    assert "far" in browser.evaluate("document.querySelector('#cases tbody tr:nth-child(2)').cells[4].className")


def test_a_click_on_a_heading_sorts_by_what_the_numbers_show(browser: Browser) -> None:
    set_to(browser, "number", "score")
    click(browser, "button[data-sort='1']")
    assert rows(browser)[0] == "small_spleen" and rows(browser)[-1] == "not_read"
    click(browser, "button[data-sort='1']")
    assert rows(browser)[-2] == "small_spleen" and rows(browser)[-1] == "not_read"  # no number: last, either way
    click(browser, "button[data-sort='name']")
    names = [name for name in rows(browser) if name.startswith("case_")]
    assert names == sorted(names, key=lambda name: int(name.split("_")[1]))


def test_filters_and_words_narrow_the_table(browser: Browser) -> None:
    set_to(browser, "filter", "unusual")
    assert rows(browser) == ["small_spleen"]
    set_to(browser, "filter", "failed")
    assert rows(browser) == ["not_read"]
    set_to(browser, "filter", "all")
    set_to(browser, "search", "spleen SMALL")
    assert rows(browser) == ["small_spleen"] and text(browser, "#shown") == "1 of 13 shown"


def test_one_key_accepts_and_goes_on_and_two_mark_a_structure_first(browser: Browser, tmp_path: Path) -> None:
    begin(browser)
    assert text(browser, "#name") == "small_spleen"
    browser.key(SPLEEN_KEY)
    assert text(browser, "#accept span") == "Accept rest"
    browser.key("a")
    assert text(browser, "#name") != "small_spleen"
    for key in "rs":
        browser.key(key)
    reviews = {review.case: review for review in saved(browser, tmp_path)}
    assert reviews["small_spleen"].of_structures() == {"liver": "right", "spleen": "wrong", "pancreas": "right"}
    assert sorted(review.verdict for review in reviews.values()) == ["accept", "reject", "unsure"]
    assert reviews["small_spleen"].labels_sha256 == SMALL_SPLEEN and reviews["small_spleen"].reviewer == "A. Reader"
    assert HOSTILE in reviews  # case 7 has the next place, and its name comes back as it is
    assert text(browser, "#done") == "3 of 12 reviewed"


def test_a_structures_key_goes_through_the_verdicts_and_undo_takes_steps_back(browser: Browser) -> None:
    begin(browser)

    def pressed() -> str:
        found = browser.evaluate("document.querySelector('#structures tr:nth-child(3) [aria-pressed=true]')?.className")
        return str(found or "").split(" ")[0]

    seen = []
    for _ in range(4):
        browser.key(PANCREAS_KEY)
        seen.append(pressed())
    assert seen == ["wrong", "unsure", "right", ""]
    browser.key("z")
    assert pressed() == "right"
    browser.key("a")
    browser.key("z")
    assert text(browser, "#name") == "small_spleen" and text(browser, "#done").startswith("0 of 12")


def test_a_click_on_a_structure_in_a_slice_marks_it_wrong(browser: Browser) -> None:
    begin(browser)
    x, y = browser.evaluate(
        "(() => { const canvas = document.querySelector('#pictures canvas'), box = canvas.getBoundingClientRect();"
        "const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; let best = null;"
        "for (let i = 0; i < data.length; i += 4) if (data[i] - data[i + 2] > 60) best = i / 4;"
        "return [box.x + (best % canvas.width + .5) / canvas.width * box.width,"
        " box.y + (Math.floor(best / canvas.width) + .5) / canvas.height * box.height]; })()"
    )
    browser.click(x, y)
    assert browser.evaluate("document.querySelectorAll('#structures .wrong[aria-pressed=true]').length") == 1


def test_arrows_go_on_and_back_without_a_verdict_and_escape_to_the_table(browser: Browser) -> None:
    begin(browser)
    first = text(browser, "#name")
    browser.key("ArrowRight")
    assert text(browser, "#name") != first
    browser.key("p")
    assert text(browser, "#name") == first
    browser.key("Escape")
    assert browser.evaluate("document.getElementById('review').hidden") is True
    assert text(browser, "#done") == "0 of 12 reviewed"


def test_nobody_judges_without_a_name(browser: Browser) -> None:
    click(browser, "#cases .open")
    browser.key("a")
    assert "Enter your name" in text(browser, "#message")
    assert browser.evaluate("document.activeElement.id") == "reader"
    assert text(browser, "#done") == "0 of 12 reviewed"


def test_what_is_not_saved_is_asked_for_and_kept_by_the_browser(browser: Browser, tmp_path: Path) -> None:
    begin(browser)
    browser.key("a")
    reopen(browser)
    assert browser.dialogs == ["beforeunload"]
    assert text(browser, "#done") == "1 of 12 reviewed, 1 unsaved"
    assert browser.evaluate("document.getElementById('reader').value") == "A. Reader"
    saved(browser, tmp_path)
    browser.key("ArrowDown")  # a browser asks only where somebody did something
    reopen(browser)
    assert browser.dialogs == []
    assert text(browser, "#done") == "1 of 12 reviewed"


def test_a_saved_file_goes_on_elsewhere(browser: Browser, tmp_path: Path) -> None:
    begin(browser)
    browser.key(SPLEEN_KEY)
    browser.key("a")
    saved(browser, tmp_path)
    [file] = tmp_path.glob("review_A_Reader_*.json")
    browser.evaluate("localStorage.clear()")
    reopen(browser)
    assert load(browser, file.read_text(encoding="utf-8")) == "Loaded 1 review of A. Reader."
    assert browser.evaluate("document.getElementById('reader').value") == "A. Reader"
    assert text(browser, "#done") == "1 of 12 reviewed"
    set_to(browser, "filter", "wrong")
    assert rows(browser) == ["small_spleen"]


def test_two_readers_are_put_together_and_disagreements_found(browser: Browser, tmp_path: Path) -> None:
    read_as(browser, "A")
    mine, other = a_review(reviewer="A", structures={"spleen": "wrong"}), a_review()
    older = a_review(verdict="reject", time="2026-01-30T12:00:00+05:00")
    assert load(browser, as_file(mine, other), as_file(older)) == "Loaded 3 reviews of A, B."
    set_to(browser, "filter", "apart")
    assert rows(browser) == ["small_spleen"]
    reviews = {review.reviewer: review for review in saved(browser, tmp_path)}
    assert {name: review.verdict for name, review in reviews.items()} == {"A": "accept", "B": "accept"}


def test_what_others_said_is_shown_after_ones_own_verdict(browser: Browser) -> None:
    read_as(browser, "A")
    load(browser, as_file(a_review(verdict="reject")))
    assert text(browser, "#cases tr[data-case='0'] .verdict") == ""
    click(browser, "#begin")
    browser.key("a")
    browser.key("Escape")
    assert text(browser, "#cases tr[data-case='0'] .verdict") == "A: acceptedB: rejected"


def test_reviews_of_other_labels_and_damaged_files_are_named_and_not_taken(browser: Browser) -> None:
    said = load(browser, as_file(a_review(labels_sha256="f" * 64), a_review(case="stranger", labels_sha256="e" * 64)))
    assert "Loaded 0 reviews." in said
    assert "labels are others now: 1 (small_spleen)" in said and "not on this page: 1 (stranger)" in said
    for broken, why in (
        ("{", "it is no JSON"),
        ("{}", "it is no file of reviews"),
        (as_file(a_review(verdict="fine")), "review 1 of 1: its verdict is none"),
        (as_file(a_review(extra=1)), "it has 'extra', which nobody knows"),
        (as_file(a_review(structures={"__proto__": "right"})), "'__proto__' is judged, but was not shown"),
    ):
        browser.evaluate("document.getElementById('message').textContent = ''")
        said = load(browser, broken)
        assert said.startswith("'file_0.json' was not loaded: ") and why in said
    assert text(browser, "#done") == "0 of 12 reviewed"


def test_hostile_names_stay_text_and_nothing_leaves_the_page(browser: Browser) -> None:
    begin(browser)
    browser.key("n")
    browser.until("document.querySelectorAll('#pictures canvas').length === 6")
    assert "window.broken" in text(browser, "body")
    assert browser.evaluate("window.broken") is None
    assert [one for one in browser.requests if not one.startswith(("file:", "data:image/", "blob:"))] == []
    refused = "Blocked attempt to show a 'beforeunload'"  # of a page before, that nobody had touched
    assert [one for one in browser.errors if refused not in one] == []
    assert browser.evaluate("fetch('data:text/plain,x').then(() => true, () => false)") is False
