"""The report's page in a browser: it scrolls, hides structures, goes to a lesion, and loads and runs nothing else.

Needs Chromium, as Debian's `chromium-headless-shell`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browser import Browser, browser_path
from reported import LIVER, SPLEEN, TUMOUR, a_segmentation, a_volume

from flareseg.results.measure import measure
from flareseg.results.report import PAGE, write_report
from flareseg.results.voxels import fitting

pytestmark = pytest.mark.skipif(browser_path() is None, reason="there is no Chromium here")
pytest.importorskip("matplotlib")

HOSTILE = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>\"'`${1}<!--"
LESION = (20, 34, 30)
"""The middle of the one lesion, in the CT's voxels."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A page with a lesion in the liver and hostile names, open and built."""
    folder = tmp_path_factory.mktemp("report")
    volume = a_volume()
    labels = a_segmentation(volume).labels.copy()
    z, y, x = LESION
    labels[z - 2 : z + 3, y - 4 : y + 5, x - 3 : x + 4] = TUMOUR.value
    structures = tuple(
        replace(one, title=HOSTILE) if one.name == "pancreas" else one for one in a_segmentation(volume).structures
    )
    segmentation = replace(a_segmentation(volume), labels=labels, structures=structures, name=HOSTILE, notes=(HOSTILE,))
    write_report(segmentation, replace(volume, name=HOSTILE), folder)
    with Browser(folder / "profile", width=700, height=800) as browser:
        browser.open((folder / PAGE).as_uri())
        browser.until("document.documentElement.classList.contains('complete')")
        yield browser


def redrawn(browser: Browser) -> None:
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def slices(browser: Browser) -> list[int]:
    """Of the axial, coronal and sagittal plane."""
    redrawn(browser)
    return [int(n) for n in browser.evaluate("[...document.querySelectorAll('.planes input')].map((one) => one.value)")]


def middle(browser: Browser, plane: int) -> tuple[float, float]:
    """Of a canvas, scrolled into view."""
    box = browser.evaluate(
        f"(() => {{ const one = document.querySelectorAll('.planes canvas')[{plane}]; one.scrollIntoView({{block: "
        "'center'}); const box = one.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })()"
    )
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def coloured(browser: Browser, plane: int, colour: tuple[int, int, int]) -> int:
    """How many pixels of a canvas have the hue of a structure: differences between channels as in its colour."""
    redrawn(browser)
    red, green, blue = colour
    return int(
        browser.evaluate(
            f"(() => {{ const one = document.querySelectorAll('.planes canvas')[{plane}];"
            "const data = one.getContext('2d').getImageData(0, 0, one.width, one.height).data; let count = 0;"
            "for (let i = 0; i < data.length; i += 4) {"
            f" const a = data[i] - data[i + 1], b = data[i + 1] - data[i + 2], share = 0.45;"
            f" if (Math.abs(a - share * {red - green}) < 6 && Math.abs(b - share * {green - blue}) < 6) count++; }}"
            "return count; })()"
        )
    )


def click_on(browser: Browser, selector: str) -> None:
    browser.evaluate(f"document.querySelector({selector!r}).click()")
    redrawn(browser)


def on_the_page(point_zyx: tuple[int, int, int]) -> list[int]:
    """A voxel of the CT on the page's grid."""
    volume = a_volume()
    voxels, _, _ = fitting(a_segmentation(volume), volume)
    return [round(value) for value in voxels.index_of(volume.geometry.world_of(point_zyx))]


def test_the_wheel_the_keys_and_the_slider_scroll(browser: Browser) -> None:
    before = slices(browser)
    browser.mouse("mouseWheel", *middle(browser, 0), deltaX=0, deltaY=-120)
    assert slices(browser) == [before[0] + 3, *before[1:]]
    browser.evaluate("document.querySelectorAll('.planes canvas')[1].focus()")
    browser.key("ArrowUp")
    assert slices(browser) == [before[0] + 3, before[1] + 1, before[2]]
    browser.evaluate(
        "(() => { const one = document.querySelectorAll('.planes input')[2]; one.value = 5;"
        " one.dispatchEvent(new Event('input')); })()"
    )
    assert slices(browser) == [before[0] + 3, before[1] + 1, 5]


def test_a_click_takes_all_planes_there(browser: Browser) -> None:
    browser.click(*middle(browser, 0))
    axial = slices(browser)
    size = [
        int(n) + 1 for n in browser.evaluate("[...document.querySelectorAll('.planes input')].map((one) => one.max)")
    ]
    assert abs(axial[1] - size[1] / 2) <= 1 and abs(axial[2] - size[2] / 2) <= 1


def test_a_click_on_a_lesion_goes_to_its_middle_and_its_diameters_are_drawn(browser: Browser) -> None:
    browser.evaluate(
        "window.written = []; const fill = CanvasRenderingContext2D.prototype.fillText;"
        "CanvasRenderingContext2D.prototype.fillText = function (text, ...more) {"
        " window.written.push(text); return fill.call(this, text, ...more); }"
    )
    browser.evaluate("document.querySelectorAll('.planes canvas')[0].focus()")
    browser.key("PageUp")
    redrawn(browser)
    browser.evaluate("window.written.length = 0")
    click_on(browser, "button[data-lesion]")
    there = slices(browser)
    volume = a_volume()
    wanted = on_the_page(LESION)
    assert there[1:] == wanted[1:] and abs(there[0] - wanted[0]) <= 2  # all its slices are equally long
    [length] = {text for text in browser.evaluate("window.written") if "mm" in text}
    labels = np.zeros_like(a_segmentation(volume).labels)
    z, y, x = LESION
    labels[z - 2 : z + 3, y - 4 : y + 5, x - 3 : x + 4] = TUMOUR.value
    lesion = measure(replace(a_segmentation(volume), labels=labels), volume)[-1]
    assert length == f"1: {lesion.longest_mm:.0f} × {lesion.perpendicular_mm:.0f} mm"
    assert "here" in browser.evaluate("document.querySelector('button[data-lesion]').closest('tr').className")
    assert "Tumour" in browser.evaluate("document.getElementById('place').textContent")


def test_a_box_takes_the_colour_of_a_structure_away_and_gives_it_back(browser: Browser) -> None:
    click_on(browser, "button[data-lesion]")
    assert coloured(browser, 0, LIVER.colour) > 500
    box = f"input[data-value='{LIVER.value}']"
    click_on(browser, box)
    assert coloured(browser, 0, LIVER.colour) == 0
    click_on(browser, "#all")  # some are hidden: all are shown
    assert coloured(browser, 0, LIVER.colour) > 500
    click_on(browser, "#all")
    assert coloured(browser, 0, LIVER.colour) == 0
    click_on(browser, "#all")


def test_a_window_changes_the_grey_and_says_that_it_is_chosen(browser: Browser) -> None:
    def brightness() -> Any:
        redrawn(browser)
        return browser.evaluate(
            "(() => { const one = document.querySelectorAll('.planes canvas')[0];"
            "const data = one.getContext('2d').getImageData(0, 0, one.width, one.height).data;"
            "return data.reduce((sum, byte) => sum + byte, 0) / data.length; })()"
        )

    before = brightness()
    click_on(browser, "#windows button:nth-child(3)")
    assert brightness() > before + 5  # what is soft tissue elsewhere is white in a window for the lung
    pressed = "[...document.querySelectorAll('#windows button')].map((one) => one.getAttribute('aria-pressed'))"
    assert browser.evaluate(pressed) == ["false", "false", "true", "false"]
    click_on(browser, "#windows button:nth-child(1)")
    assert brightness() == pytest.approx(before, abs=0.5)


def test_the_solid_shows_the_structures(browser: Browser) -> None:
    caption = browser.evaluate("document.querySelectorAll('.planes figcaption')[3].textContent")
    if "WebGL" in caption:
        pytest.skip("this Chromium has no WebGL")
    kinds = browser.evaluate(
        "new Promise((done) => requestAnimationFrame(() => setTimeout(() => {"
        "const one = document.querySelectorAll('.planes canvas')[3], copy = document.createElement('canvas');"
        "one.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}));"
        "requestAnimationFrame(() => { copy.width = one.width; copy.height = one.height;"
        "const pen = copy.getContext('2d'); pen.drawImage(one, 0, 0);"
        "const data = pen.getImageData(0, 0, copy.width, copy.height).data; const seen = new Set();"
        "for (let i = 0; i < data.length; i += 4) seen.add(data[i] + 256 * data[i + 1] + 65536 * data[i + 2]);"
        "done(seen.size); }); }, 0)))"
    )
    assert kinds > 20


def test_hostile_names_stay_text(browser: Browser) -> None:
    assert browser.evaluate("window.broken") is None
    assert browser.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert browser.evaluate("document.title") == HOSTILE
    assert HOSTILE in browser.evaluate("document.querySelector('aside').textContent")
    assert HOSTILE in browser.evaluate("document.body.textContent")
    assert browser.evaluate("document.images.length") == 1


def test_nothing_leaves_the_page_and_nothing_could(browser: Browser) -> None:
    assert browser.evaluate("document.querySelectorAll('.planes canvas')[0].width") > 100
    assert [address for address in browser.requests if not address.startswith(("file:", "data:image/png"))] == []
    assert sum(address.startswith("file:") for address in browser.requests) == 1
    assert browser.errors == []
    reached = browser.evaluate("fetch('data:text/plain,x').then(() => true, () => false)")
    assert reached is False  # not even a request that would stay here
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.broken = 1'}))"
    )
    assert browser.evaluate("window.broken") is None


def test_a_spleen_that_leaves_the_scan_is_warned_of(browser: Browser) -> None:
    assert f"cuts off the {SPLEEN.title.lower()}" in browser.evaluate("document.querySelector('.warnings').textContent")
