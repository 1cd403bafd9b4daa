"""*Get models…*: the list of public models, a download from a server on this computer, and what goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

from file_server import serving
from helpers import alive
from public_replicas import catalogue_of, entry, totalsegmentator_zip
from standin import dialogs
from standin.events import wait_until

import flareseg.model.catalogue as models

NON_COMMERCIAL = {"terms": "non-commercial", "licence": "CC-BY-NC-4.0"}
LESIONS = {"label": "tumor", "host": ["liver"], "margin_mm": 10}


pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def server():
    with serving(totalsegmentator_zip()) as served:
        yield served


@pytest.fixture
def write(tmp_path, server):
    """Writes the user's own catalogue: three models and a preset, from the server of the test."""
    other = server.address.replace("model", "other")
    rows = (
        entry(server.address, bytes=len(server.data), purpose="To try <it>"),
        entry(other, name="for-study", title="Not for sale", lesions=LESIONS, **NON_COMMERCIAL),
    )
    preset = {
        "name": "together",
        "title": "Organs + lesions of the liver",
        "purpose": "Both in one",
        "organs": ["default"],
        "lesions": ["for-study"],
    }
    return catalogue_of(tmp_path / "data" / "catalogue.json")(*rows, presets=[preset])


@pytest.fixture
def folders_of_its_own(own_folders, write):
    """With a catalogue in them when the panel is entered."""


@pytest.fixture
def window(widget):
    """The window with its list filled."""
    widget.ui.getModelsButton.click()
    assert wait_until(lambda: widget.panel.get_models.ui.modelsTable.rowCount, 120)
    return widget.panel.get_models


def choose(window, title):
    table = window.ui.modelsTable
    titles = [table.item(row, 0).text() for row in range(table.rowCount)]
    table.selectRow(titles.index(title))
    return [table.item(titles.index(title), column).text() for column in range(table.columnCount)]


def got(window):
    """Waits for the end of what was started."""
    return wait_until(lambda: window.pid is None, 120)


def kept_bytes(tmp_path):
    """Of downloads, also of those that go on."""
    return sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*.zip"))


def installed():
    return [model.name for model in models.list_models() if model.origin == "yours"]


def test_the_panel_says_in_a_sentence_what_a_better_model_gives_where_an_embedded_one_is_chosen(widget):
    label = widget.ui.betterModelLabel
    assert not label.isHidden()
    assert label.text.count(".") == 1 and "Get models…" in label.text


def test_the_list_shows_presets_and_models_with_licence_size_and_what_a_user_agrees_to(window, server):
    import qt

    ui, table = window.ui, window.ui.modelsTable
    assert table.item(0, 0).text() == "13 organs + lesions of the liver"
    assert choose(window, "13 organs + lesions of the liver")[1:4] == ["organs, lesions", "Apache-2.0", "366 MB"]
    assert choose(window, "13 organs + lesions of liver and kidneys")[2:4] == [
        "Apache-2.0; to be read on its page",
        "over 366 MB",
    ]
    assert ui.getButton.text == "Get (over 366 MB)" and not ui.getButton.enabled
    assert not ui.fromFileButton.enabled, "a preset is several files"
    assert choose(window, "Not for sale")[2:4] == ["CC-BY-NC-4.0, not for commercial use", "unknown"]
    cells = choose(window, "A replica of three structures")
    assert cells == ["A replica of three structures", "liver, tumor", "Apache-2.0", "1 MB", ""]
    text = ui.descriptionText.toPlainText()
    assert "To try <it>" in text and "Licence of the weights: Apache-2.0" in text, "text is no markup"
    assert "Nobody, A Replica, 2026" in text and server.address in text
    assert ui.getButton.text == "Get (1 MB)" and ui.getButton.enabled and ui.acceptCheckBox.isHidden()
    for widget in (table, ui.descriptionText, ui.progressBar):
        assert widget.accessibleName
    for widget in (table, ui.acceptCheckBox, ui.getButton, ui.fromFileButton, ui.closeButton):
        assert widget.focusPolicy & qt.Qt.TabFocus
    assert not table.tabKeyNavigation and ui.getButton.default
    ui.closeButton.click()
    assert not window.dialog.visible


def test_get_downloads_in_a_process_and_the_model_is_in_the_selector_and_chosen(window, widget, server):
    choose(window, "A replica of three structures")
    window.ui.getButton.click()
    assert window.ui.getButton.text == "Cancel" and not window.ui.modelsTable.enabled
    seen = set()
    assert wait_until(lambda: seen.add(window.ui.statusLabel.text) or window.pid is None, 120)
    assert any(text.startswith("Downloading, 1 of 1 MB") or text.startswith("Converting") for text in seen), seen
    assert window.ui.statusLabel.text == "'A replica of three structures' is installed, and chosen."
    assert widget.ui.modelSelector.currentData == widget.panel.parameters.model == "replica"
    assert widget.ui.betterModelLabel.isHidden()
    assert wait_until(lambda: window.ui.getButton.text == "Use it", 120)
    assert choose(window, "A replica of three structures")[4] == "✓ installed"
    widget.ui.modelSelector.currentText = "default"
    window.ui.getButton.click()
    assert widget.panel.parameters.model == "replica" and len(server.asked) == 1


def test_a_licence_that_is_not_open_is_accepted_first_and_a_failure_is_one_line_with_the_way_by_hand(
    window, widget, server, tmp_path
):
    server.status = 404
    ui = window.ui
    choose(window, "Not for sale")
    assert not ui.acceptCheckBox.isHidden() and not ui.getButton.enabled and not ui.fromFileButton.enabled
    assert "licence" in ui.getButton.toolTip
    ui.acceptCheckBox.checked = True
    assert ui.getButton.enabled and ui.fromFileButton.enabled
    choose(window, "A replica of three structures")
    choose(window, "Organs + lesions of the liver")
    assert not ui.acceptCheckBox.checked, "one licence is not another"
    ui.acceptCheckBox.checked = True
    ui.getButton.click()
    assert got(window)
    text, [asked] = ui.statusLabel.text, server.asked
    assert "404" in text and "\n" not in text and "flareseg models" not in text
    assert f"By hand: download http://127.0.0.1:{server.port}{asked['path']} with a browser" in text
    assert "choose 'Not for sale'" in text and "From file…" in text
    assert widget.panel.parameters.model == "default" and installed() == []
    file = tmp_path / "by hand.zip"
    file.write_bytes(b"not what it should be")
    choose(window, "A replica of three structures")
    dialogs.expect(str(file))
    ui.fromFileButton.click()
    assert got(window)
    assert "has 21 bytes" in ui.statusLabel.text and len(server.asked) == 1


@pytest.mark.parametrize("way", ["cancel", "the window is closed", "the panel goes"])
def test_whoever_stops_or_goes_leaves_no_process_and_what_has_come_is_kept(window, widget, server, tmp_path, way):
    server.hangs_after = len(server.data) // 2
    choose(window, "A replica of three structures")
    window.ui.getButton.click()
    assert wait_until(lambda: kept_bytes(tmp_path), 120)
    pid = window.pid
    assert pid and alive(pid)
    if way == "the panel goes":
        widget.panel.end()
        assert window.dialog is None
    else:
        ui = window.ui
        (ui.getButton.click if way == "cancel" else window.dialog.close)()
        assert not ui.getButton.enabled
        assert got(window)
        assert ui.statusLabel.text == "Cancelled; what has come is kept, and Get goes on from there."
        assert ui.getButton.text == "Get (1 MB)" and ui.modelsTable.enabled
    assert wait_until(lambda: not alive(pid), 10) and installed() == []
    assert kept_bytes(tmp_path)


def test_a_catalogue_that_is_damaged_is_one_line(widget, write):
    write.write_text("{")
    widget.ui.getModelsButton.click()
    ui = widget.panel.get_models.ui
    assert wait_until(lambda: ui.statusLabel.text.startswith("The list cannot be read"), 120)
    assert "damaged" in ui.statusLabel.text and "Traceback" not in ui.statusLabel.text
    assert ui.modelsTable.rowCount == 0 and not ui.getButton.enabled


def test_without_packages_nothing_begins(window, monkeypatch, server):
    monkeypatch.setattr(window, "_is_ready", lambda: False)
    choose(window, "A replica of three structures")
    window.ui.getButton.click()
    assert window.pid is None and server.asked == []
    assert "packages" in window.ui.statusLabel.text and window.ui.getButton.enabled
