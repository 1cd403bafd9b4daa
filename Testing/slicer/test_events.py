"""Lines of the engine's process are understood, kept short, or passed over."""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from stand_in_engine import GRID

from FlarePanCancerLib.events import LONGEST_TEXT, one_line, parse_event
from flareseg.labels import structures
from flareseg.results.measure import measure
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume


def test_what_the_engine_says_is_understood():
    hu = np.zeros(GRID.shape_zyx, np.int16)
    segmentation = Segmentation(np.ones(GRID.shape_zyx, np.uint8), GRID, structures(), "x", "m")
    rows = [row.as_row() for row in measure(segmentation, Volume(hu, GRID))]
    for event in (
        {"event": "stage", "case": "1", "stage": "read", "fraction": 0.0},
        {"event": "progress", "case": "1", "message": "A note."},
        {"event": "preview", "case": "1", "output": "a.nrrd"},
        {"event": "done", "case": "1", "output": "a.nrrd", "measurements": rows},
        {"event": "error", "case": "1", "message": "No."},
        {"event": "devices", "case": "", "devices": [{"name": "cpu", "description": "2 threads"}]},
    ):
        line = json.dumps(event).encode()
        assert parse_event(line) == json.loads(line)


def test_of_long_lines_only_results_are_read(monkeypatch):
    rows = b", ".join([b"{}"] * 100_000)
    line = b'{"event": "done", "case": "1", "output": "a", "measurements": [%b]}' % rows
    assert parse_event(line)["event"] == "error"
    monkeypatch.setattr(json, "loads", None)
    for line in (b'{"event": "progress", "message": "%b"}' % rows, b"[%b]" % rows, b"{" * 300_000):
        assert parse_event(line) is None


def test_numbers_stay_in_their_range_and_texts_on_one_line():
    assert parse_event(b'{"event": "progress", "stage": "a\\nb", "fraction": 7}')["fraction"] == 1
    assert parse_event(b'{"event": "progress", "stage": "a\\nb", "fraction": -7}')["stage"] == "a b"
    assert parse_event(b'{"event": "progress", "stage": "a", "fraction": true}') is None
    assert parse_event(b'{"event": "progress", "stage": "a", "fraction": Infinity}') is None
    assert len(one_line("word " * 10000)) <= LONGEST_TEXT
