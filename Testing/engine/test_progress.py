"""Progress: what a listener hears, and that a cancel is noticed at the next report."""

import re
from pathlib import Path

import pytest

import flareseg
from flareseg.errors import Cancelled
from flareseg.progress import STAGES, Progress, share_done


class Recorder:
    def __init__(self) -> None:
        self.heard: list[tuple[str, float]] = []
        self.messages: list[str] = []

    def stage(self, name: str, fraction: float) -> None:
        self.heard.append((name, fraction))

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_a_stage_is_heard_from_begin_to_end_and_timed():
    recorder = Recorder()
    progress = Progress(recorder)
    with progress.stage("network"):
        progress.update(0.5)
    assert recorder.heard == [("network", 0.0), ("network", 0.5), ("network", 1.0)]
    assert list(progress.seconds) == ["network"]


def test_fractions_are_kept_between_0_and_1():
    recorder = Recorder()
    progress = Progress(recorder)
    progress.update(-0.1)
    progress.update(1.7)
    assert [fraction for _, fraction in recorder.heard] == [0.0, 1.0]


def test_a_cancel_is_raised_at_the_next_report():
    asked = [False]
    progress = Progress(cancelled=lambda: asked[0])
    with progress.stage("read"):
        pass
    asked[0] = True
    with pytest.raises(Cancelled, match=r"^Cancelled; no partial file was left\.$"):
        progress.update(0.5)


def test_messages_are_reported_and_kept_for_the_result():
    recorder = Recorder()
    progress = Progress(recorder)
    progress.message("The GPU ran out of memory; going on with smaller windows.")
    assert recorder.messages == progress.messages == ["The GPU ran out of memory; going on with smaller windows."]


def test_every_stage_of_a_case_is_in_the_one_table():
    files = Path(flareseg.__file__).parent.rglob("*.py")
    used = {name for file in files for name in re.findall(r'\.stage\("(\w+)"\)', file.read_text(encoding="utf-8"))}
    assert used - {"evaluate"} == set(STAGES)
    assert share_done(dict.fromkeys(STAGES, 1.0)) == pytest.approx(1) and share_done({"other": 1.0}) == 0
