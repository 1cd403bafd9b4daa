"""Whatever the engine's process says or leaves unsaid, the window stays free and a run ends in one sentence."""

import itertools
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).parent))

from helpers import alive

from FlarePanCancerLib import process as engine_process
from FlarePanCancerLib.events import LONGEST_TEXT, NOT_UNDERSTOOD, one_line, parse_event
from FlarePanCancerLib.job import MOST_MESSAGES, Job
from FlarePanCancerLib.process import EVENTS_AT_ONCE, LOG_LINES, LONGEST_LOGGED, MOST_WAITING, EngineProcess
from FlarePanCancerLib.run_request import with_choices
from flareseg.io.files import write_segmentation
from flareseg.io.nrrd import write_nrrd
from flareseg.labels import structures
from flareseg.results.measure import measure
from flareseg.segmentation import Segmentation
from flareseg.system import leftovers
from flareseg.volume import Geometry, Volume

GRID = Geometry((6, 8, 10), (2.0, 1.0, 1.0))
HEAD = """
import json, os, shutil, subprocess, sys, time
results = sys.argv[sys.argv.index("-o") + 1]

def say(event, case="00000", **entries):
    print(json.dumps({"event": event, "case": case, **entries}), flush=True)

def done(case="00000", rows=(), output=None):
    os.makedirs(results, exist_ok=True)
    own = os.path.join(results, case + ".nrrd")
    shutil.copy(PREPARED, own)
    say("done", case, output=output or own, measurements=list(rows))
"""


def a_volume():
    return Volume(np.zeros(GRID.shape_zyx, np.int16), GRID, "CT")


class Heard:
    """A listener that counts."""

    def __init__(self):
        self.fractions, self.remarks, self.previews, self.results, self.failures, self.ends = [], [], [], [], [], []

    def progress(self, fraction, text, seconds_left):
        self.fractions.append(fraction)

    def message(self, text):
        self.remarks.append(text)

    def preview(self, number, labels):
        self.previews.append(number)

    def done(self, number, labels, rows):
        self.results.append((number, int(labels.array.sum()), rows))

    def error(self, number, text, details):
        self.failures.append((number, text))

    def finished(self, cancelled):
        self.ends.append(cancelled)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Puts a program in the engine's place; the function takes its text."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[2:4, 3:5, 3:6] = 1
    write_segmentation(Segmentation(labels, GRID, structures()), tmp_path / "prepared.nrrd")
    package = tmp_path / "engine" / "flareseg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(engine_process, "ENGINE_FOLDER", package.parent)
    monkeypatch.setattr(engine_process, "AFTER_END_S", 0.1)
    chosen = tmp_path / "temporary"
    chosen.mkdir()
    monkeypatch.setattr(slicer, "app", SimpleNamespace(temporaryPath=str(chosen)), raising=False)

    def put(text):
        (package / "__main__.py").write_text(f"PREPARED = {str(tmp_path / 'prepared.nrrd')!r}\n{HEAD}\n{text}")

    put.temporary = chosen
    put.pids = tmp_path / "pids"
    return put


def run(count=1, polls=3000, after_poll=lambda job, heard: None):
    """A whole run; `after_poll` may look in between."""
    heard = Heard()
    job = Job([a_volume() for _ in range(count)], with_choices(device="cpu"), heard)
    job.start()
    for _ in range(polls):
        job.poll()
        after_poll(job, heard)
        if not job.running:
            return job, heard
        time.sleep(0.005)
    job.kill()
    raise AssertionError(f"it did not end: {heard.failures} {job.log[-2000:]}")


def the_failure(heard, number=None):
    [(blamed, text)] = heard.failures
    assert blamed == number
    assert "\n" not in text and text.endswith(".")
    assert heard.ends == [False]
    return text


def test_a_run_that_goes_well_tells_its_result(engine):
    engine("say('stage', stage='read', fraction=0.5)\ndone()")
    _, heard = run()
    assert heard.results == [(0, 12, [])]
    assert heard.failures == [] and heard.ends == [False]
    assert heard.fractions[-1] > 0


def test_a_flood_of_progress_is_reported_in_bounded_parts(engine):
    engine("for n in range(30000): say('progress', stage='network', fraction=n / 30000)\ndone()")
    counts = []

    def count(job, heard):
        counts.append(len(heard.fractions))
        if job._process:
            assert job._process._events.qsize() <= MOST_WAITING

    _, heard = run(after_poll=count)
    assert heard.results == [(0, 12, [])]
    assert max(after - before for before, after in itertools.pairwise([0, *counts])) <= 2


@pytest.mark.parametrize(
    "line",
    [
        *("nonsense {} \\n", "[" * 20 + "\\n", '{"event": "other"}\\n', "\\n", "\\0\\xff\\n"),
        '{"event": "progress", "case": "00000", "message": "hello"}\\n',
    ],
)
def test_a_flood_of_lines_is_bounded(engine, line):
    engine(f"for n in range(300): sys.stdout.buffer.write(b'''{line}''' * 100)\nsys.stdout.flush()\ndone()")
    job, heard = run()
    assert heard.results == [(0, 12, [])]
    assert len(job.log.splitlines()) <= LOG_LINES
    assert len(heard.remarks) <= MOST_MESSAGES


def test_a_flood_on_standard_error_is_bounded(engine):
    engine("for n in range(300): sys.stderr.write('warning\\n' * 100)\ndone()")
    job, heard = run()
    assert heard.results == [(0, 12, [])]
    assert set(job.log.splitlines()) == {"warning"} and len(job.log.splitlines()) <= LOG_LINES


def test_a_line_without_an_end_is_cut(engine, monkeypatch):
    monkeypatch.setattr(engine_process, "LONGEST_LINE", 2**16)
    engine("sys.stdout.write('x' * 2**21 + '\\n')\ndone()\nsys.stdout.write('{' * 2**20)")
    job, heard = run()
    assert heard.results == [(0, 12, [])]
    assert all(len(line) <= LONGEST_LOGGED for line in job.log.splitlines())
    assert len(job.log.splitlines()) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sys.stdout.write('[' * 200000 + '\\n')",
        "sys.stdout.write('{\"a\":' * 200000 + '\\n')",
        'sys.stdout.write(\'{"event": "done", "case": "00000", "outp\')',
        "sys.stdout.buffer.write(b'\\xff\\xfe{\"event\"\\n\\xc3\\n')",
        "print('null'); print('[1, 2]'); print('7'); print('\"done\"'); print('NaN')",
        "say('progress'); say('stage', fraction=0.5); say('progress', stage=1, fraction=0.5)",
        "say('progress', stage='read', fraction='half'); say('progress', stage='read', fraction=[1])",
        "done('00001'); done('x'); done('99999999999999999999')",
        "done('\\u00b2'); done('\\u0663'); done('-1'); say('progress', case='7', stage='read', fraction=1)",
        "say('preview', output=3); say('preview'); say('devices', devices=[1]); say(['list']); say('quit')",
        'print(\'{"event": "progress", "stage": "read", "fraction": 1\' + \'0\' * 4000 + \'}\')',
        'print(\'{"event": "progress", "stage": "read", "fraction": 1\' + \'0\' * 5000 + \'}\')',
        'print(\'{"event": "progress", "case": "00000", "stage": "read", "fraction": NaN}\')',
    ],
)
def test_an_end_without_a_result_is_one_sentence(engine, text):
    engine(text)
    _, heard = run()
    assert the_failure(heard) == "The engine ended without a result; the details say more."
    assert heard.results == []


@pytest.mark.parametrize(
    "text",
    [
        "done(rows=[{}])",
        "done(rows=[None])",
        "done(rows=[{'structure': 'liver', 'lesion': None}])",
        "say('done', output='x', measurements={})",
        "say('done', output='x')",
        "say('done', output=['x'], measurements=[])",
        "say('error')",
        "say('error', message=[1])",
    ],
)
def test_a_damaged_answer_is_one_sentence_about_its_ct(engine, text):
    engine(text)
    _, heard = run()
    assert the_failure(heard, 0) == NOT_UNDERSTOOD


@pytest.mark.parametrize("case", ["None", "0", "'00001'", "['00000']"])
def test_a_broken_result_of_no_ct_is_reported_once(engine, case):
    engine(f"for _ in range(3): say('done', case={case}, output='x', measurements=[])")
    _, heard = run()
    assert the_failure(heard).startswith("The result cannot be read")


def test_a_result_that_is_not_there_or_no_image_is_one_sentence(engine, tmp_path):
    (tmp_path / "text.nrrd").write_text("no image")
    for output in (tmp_path / "absent.nrrd", tmp_path / "text.nrrd", tmp_path, "\0"):
        engine(f"done(output={str(output)!r})")
        _, heard = run()
        assert the_failure(heard, 0).startswith("The result cannot be read")
    assert (tmp_path / "text.nrrd").exists()


def test_a_result_on_another_grid_is_refused(engine, tmp_path):
    other = Geometry((5, 8, 10), (2.0, 1.0, 1.0))
    write_segmentation(Segmentation(np.ones(other.shape_zyx, np.uint8), other, structures()), tmp_path / "other.nrrd")
    engine(f"done(output={str(tmp_path / 'other.nrrd')!r})")
    _, heard = run()
    assert "does not lie on the grid" in the_failure(heard, 0)
    assert (tmp_path / "other.nrrd").exists()  # only what lies in the run's own folder is removed


def test_a_preview_that_cannot_be_read_does_not_cost_the_result(engine):
    engine("say('preview', output='/absent.nrrd')\ndone()")
    _, heard = run()
    assert heard.results == [(0, 12, [])] and heard.failures == []
    assert "preview cannot be read" in heard.remarks[0]


def test_a_result_that_is_reported_twice_counts_once(engine):
    engine("done()\nsay('error', message='late')\ndone()")
    _, heard = run()
    assert heard.results == [(0, 12, [])] and heard.failures == []


def test_what_is_missing_of_several_is_reported_in_one_sentence(engine):
    engine("done('00000')\nsay('error', '00001', message='This is no CT.')")
    _, heard = run(3)
    assert [number for number, *_ in heard.results] == [0]
    assert heard.failures == [
        (1, "This is no CT."),
        (None, "The engine ended without a result for 1 of 3 CTs; the details say more."),
    ]


def test_a_crash_is_one_sentence(engine):
    engine("done('00000')\nprint('a\\nb', file=sys.stderr)\nos.abort()")
    _, heard = run(2)
    assert the_failure(heard).startswith("The engine ended unexpectedly (status")
    engine("sys.exit('flareseg: There is no model.')")
    _, heard = run(2)
    assert the_failure(heard) == "There is no model."


def test_a_crash_after_every_result_is_none_of_the_users_concern(engine):
    engine("done()\nos.abort()")
    _, heard = run()
    assert heard.results == [(0, 12, [])] and heard.failures == []


# what the engine starts

LINGERS = (
    "child = subprocess.Popen([sys.executable, '-c', {program!r}], start_new_session={own_session})\n"
    "open({pids!r}, 'w').write(str(child.pid))\n"
)
SLEEPS = "import time; time.sleep(600)"
DRIPS = "import time\nwhile True: print('drip', flush=True); time.sleep(0.3)"
FLOODS = "while True: print('x' * 1000)"


def kill(pids):
    with_pid = int(pids.read_text())
    if alive(with_pid):
        os.kill(with_pid, 9)


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX's")
@pytest.mark.parametrize("program", [SLEEPS, DRIPS, FLOODS], ids=["silent", "dripping", "flooding"])
@pytest.mark.parametrize("own_session", [False, True])
def test_a_grandchild_that_keeps_the_pipe_holds_nobody_up(engine, program, own_session):
    engine(LINGERS.format(program=program, own_session=own_session, pids=str(engine.pids)) + "done()")
    try:
        _, heard = run()
        assert heard.results == [(0, 12, [])] and heard.failures == [] and heard.ends == [False]
        if not own_session:
            assert not alive(int(engine.pids.read_text()))
    finally:
        kill(engine.pids)


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are POSIX's")
@pytest.mark.parametrize("own_session", [False, True])
@pytest.mark.parametrize("deaf", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"])
def test_a_cancel_ends_the_engine_and_what_it_has_started(engine, monkeypatch, own_session, deaf):
    pytest.importorskip("psutil")
    monkeypatch.setattr(engine_process, "ASK_S", 0.3)
    lingers = LINGERS.format(program=SLEEPS, own_session=own_session, pids=str(engine.pids))
    engine(deaf + lingers + "say('stage', stage='read', fraction=0.1)\ntime.sleep(600)")
    seen = []

    def cancel(job, heard):
        if len(heard.fractions) > 2 and not seen:
            seen.append(job.pid)
            job.cancel()

    try:
        _, heard = run(after_poll=cancel)
        assert heard.ends == [True] and heard.failures == []
        assert not alive(seen[0])
        if deaf or not own_session:  # one that ends when asked has time to end its own
            assert not alive(int(engine.pids.read_text()))
    finally:
        kill(engine.pids)


def test_killing_after_the_end_kills_no_other(engine, monkeypatch):
    engine("done()")
    job, _ = run()
    killed = []
    monkeypatch.setattr(os, "killpg", lambda *arguments: killed.append(arguments), raising=False)
    job._process.kill()
    assert killed == []


# Python's lock, and the disk


def test_threads_get_on_while_the_window_keeps_pythons_lock(engine):
    """As in Slicer: Python's lock is free only while `poll` gives it away."""
    engine("for n in range(500): say('progress', stage='read', fraction=n / 500)\ndone()")
    heard = Heard()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        job = Job([a_volume()], with_choices(device="cpu"), heard)
        job.start()
        for _ in range(5000):
            job.poll()
            if not job.running:
                break
            end = time.perf_counter() + 0.002
            while time.perf_counter() < end:
                pass
    finally:
        sys.setswitchinterval(before)
        job.kill()
    assert heard.results == [(0, 12, [])] and heard.ends == [False]


def test_a_whole_volume_is_one_write(tmp_path, monkeypatch):
    writes = []

    class File:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            writes.append(bytes(data))

    monkeypatch.setattr(Path, "open", lambda *_: File())
    hu = np.arange(480, dtype=np.int16).reshape(GRID.shape_zyx)
    write_nrrd(tmp_path / "a.nrrd", hu, GRID, {}, compressed=False)
    assert len(writes) == 2
    assert writes[1] == hu.astype("<i2").tobytes()
    for other in (hu[::-1], hu.astype(">i2"), np.asfortranarray(hu)):
        writes.clear()
        write_nrrd(tmp_path / "a.nrrd", other, GRID, {}, compressed=False)
        assert b"".join(writes[1:]) == np.ascontiguousarray(other, "<i2").tobytes()


def test_the_temporary_folder_is_slicers_own_and_goes(engine):
    engine("done()")
    names = []
    run(after_poll=lambda job, heard: names.extend(path.name for path in engine.temporary.iterdir()))
    assert names and all(leftovers._is_ours(name) for name in names)
    assert list(engine.temporary.iterdir()) == []


def test_folders_of_a_slicer_that_was_killed_are_removed_by_the_next(engine, monkeypatch):
    dead = f"flareseg-{leftovers._place()}-{2**22 + 7}-1-0a1b2c3d"
    (engine.temporary / dead / "cts").mkdir(parents=True)
    (engine.temporary / dead / "cts" / "00000.nrrd").write_bytes(bytes(1000))
    (engine.temporary / "somebody's").mkdir()
    engine("done()")
    run()
    assert [path.name for path in engine.temporary.iterdir()] == ["somebody's"]


def test_where_slicers_folder_cannot_be_written_the_systems_is_taken(engine, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "system").mkdir()
    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "system"))
    job = Job([a_volume()], with_choices(device="cpu"), Heard())
    assert job._folder.parent == tmp_path / "system"
    job.kill()
    assert list((tmp_path / "system").iterdir()) == []


# lines


def test_what_the_engine_says_is_understood():
    hu = np.zeros(GRID.shape_zyx, np.int16)
    segmentation = Segmentation(np.ones(GRID.shape_zyx, np.uint8), GRID, structures(), "x", "m")
    rows = [vars(row) for row in measure(segmentation, Volume(hu, GRID))]
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


def test_a_process_that_was_never_started_is_quiet():
    process = EngineProcess(["devices"])
    process.cancel()
    process.kill()
    assert (process.running, process.status, process.pid, process.events()) == (False, None, None, [])
    assert EVENTS_AT_ONCE < MOST_WAITING
