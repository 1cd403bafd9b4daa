"""What the engine says of public models and of a download, as the panel understands and words it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "FlarePanCancer"
MODEL = {
    **{key: key for key in ("name", "title", "purpose", "licence", "citation", "page", "accuracy", "notes")},
    **{"authors": "A", "tried": "no", "terms": "open", "structures": ["liver"], "installed": [], "bytes": 135_000_000},
    "addresses": ["https://example.org/a.zip"],
}
PRESET = {"name": "both", "title": "Both", "purpose": "p", "organs": ["default"], "lesions": ["name"], "installed": []}


@pytest.fixture
def parse(app):
    from FlarePanCancerLib.events import parse_event

    return lambda **event: parse_event(json.dumps(event).encode())


@pytest.fixture
def offers(parse):
    """Of an answer with these models and presets."""
    from FlarePanCancerLib.offers import offers_of

    return lambda models, presets=(): offers_of(parse(event="available", models=list(models), presets=list(presets)))


class Said:
    """Stands for the engine's process: has said these events, and has ended."""

    def __init__(self, *events, status=0, log=()):
        self._events, self.status, self.log, self.pid = list(events), status, list(log), 1
        self.running = False

    def events(self):
        events, self._events = self._events, []
        return [{"case": ""} | event for event in events]

    def why_it_failed(self):
        return self.log[0] if self.status else ""


class Heard:
    """A listener that notes everything."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *values: self.calls.append((name, *values))


@pytest.fixture
def heard(app, monkeypatch):
    """What a listener hears of a process that said this."""
    from FlarePanCancerLib import getting

    def poll(*events, **end):
        monkeypatch.setattr(getting, "EngineProcess", lambda _: Said(*events, **end))
        listener = Heard()
        getting.Getting([], listener).poll()
        return listener.calls

    return poll


def test_progress_has_megabytes_time_left_and_which_of_how_many(heard, parse):
    def line(**more):
        return parse(event="progress", stage="download", fraction=0.5, **more)

    assert heard(line(bytes=45e6, total=135e6, seconds_left=12))[0][2] == "Downloading, 45 of 135 MB, 12 s left"
    assert heard(line(bytes=45e6, total=135e6, seconds_left=None))[0][2] == "Downloading, 45 of 135 MB"
    assert heard(line(bytes=45e6, total=None))[0][2] == "Downloading, 45 MB"
    second = line(bytes=45e6, total=135e6, seconds_left=600, number=2, count=2)
    _, fraction, text = heard(second)[0]
    assert text == "2 of 2: Downloading, 45 of 135 MB, 10 min left" and 0.5 < fraction < 0.75
    install = parse(event="stage", stage="install", fraction=0, number=2, count=2)
    assert heard(install)[0][1] > fraction and heard(install)[0][2] == "2 of 2: Converting"


def test_the_end_is_a_model_or_one_sentence(heard, parse):
    done = parse(event="done", case="a", output="/x", model="a", fraction=1.0)
    assert heard(done) == [("done", "a"), ("finished", False)]
    error = parse(event="error", case="a", message="No\nroom.")
    assert heard(error) == [("error", "No room.", "a", ""), ("finished", False)]
    assert heard(status=1, log=["It crashed."])[0] == ("error", "It crashed.", "", "It crashed.")
    assert "without an answer" in heard()[0][1]


@pytest.mark.parametrize(
    "damage",
    [
        {"models": None},
        {"presets": [3]},
        {"models": [MODEL | {"title": 3}]},
        {"models": [MODEL | {"structures": [1]}]},
        {"models": [MODEL | {"structures": ["a"] * 301}]},
        {"models": [MODEL] * 501},
        {"presets": [{key: value for key, value in PRESET.items() if key != "organs"}]},
    ],
)
def test_an_answer_that_is_not_understood_is_none(parse, damage):
    assert parse(**({"event": "available", "models": [MODEL], "presets": [PRESET]} | damage)) is None


def test_an_offer_says_size_licence_and_command(offers):
    [preset, model] = offers([MODEL], [PRESET])
    assert (preset.size, preset.missing, preset.is_preset) == ("135 MB", model.members, True)
    assert model.arguments() == ["models", "get", "name", "--yes", "--progress", "json"]
    assert model.arguments(True, "f.zip")[-3:] == ["--accept-licence", "--from", "f.zip"]
    [preset, model] = offers([MODEL | {"installed": ["mine"], "terms": "unread"}], [PRESET])
    assert (model.installed, model.missing, model.size) == ("mine", (), "")
    assert (preset.missing, preset.size, preset.needs_acceptance) == ((), "no download", False)
    assert preset.licence == "to be read on its page" and "installed" in preset.page()
    [unknown] = offers([MODEL | {"bytes": None, "terms": "non-commercial"}])
    assert unknown.size == "unknown" and unknown.needs_acceptance
    assert "licence, not for commercial use" in unknown.page()
    assert "&lt;b&gt;" in replace(unknown, purpose="<b>").page()


def test_nothing_that_opens_connections_is_loaded_into_slicer():
    code = (
        "import json, sys, types\n"
        "sys.modules['slicer'], i18n = types.ModuleType('slicer'), types.ModuleType('slicer.i18n')\n"
        "i18n.tr, sys.modules['slicer.i18n'] = str, i18n\n"
        "import FlarePanCancerLib.offers, FlarePanCancerLib.getting\n"
        "print(json.dumps(list(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    assert not {"flareseg.public", "http.client", "ssl", "urllib.request"} & set(json.loads(ran.stdout))
