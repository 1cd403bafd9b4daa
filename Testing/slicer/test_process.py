"""Whatever the engine's process says or leaves unsaid, the window stays free and a run ends in one sentence."""

import ctypes
import itertools
import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).parent))

from stand_in_engine import GRID, Heard, a_volume, run, the_failure

from FlarePanCancerLib import ct_files, mrml_conversion, pipe_lines
from FlarePanCancerLib import process as engine_process
from FlarePanCancerLib.ct_files import AHEAD
from FlarePanCancerLib.events import NOT_UNDERSTOOD
from FlarePanCancerLib.job import MOST_MESSAGES, Job
from FlarePanCancerLib.process import LOG_LINES, LONGEST_LOGGED, EngineProcess
from FlarePanCancerLib.run_request import with_choices
from flareseg import cli
from flareseg.errors import OutputError
from flareseg.io.files import read_volume, write_segmentation
from flareseg.io.nrrd import write_nrrd
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.system import leftovers
from flareseg.volume import Geometry, Volume


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
        if job._process and job._process._output:
            assert len(job._process._output._ready) <= pipe_lines.PIECE

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


# Python's lock, and the disk


def hold_pythons_lock(seconds=0.002):
    """As Slicer's event loop does between two timers: no thread of Python's gets on meanwhile."""
    ctypes.PyDLL(None).usleep(int(1e6 * seconds))


@pytest.mark.skipif(sys.platform == "win32", reason="usleep is POSIX's")
def test_nothing_waits_for_pythons_lock_which_the_window_keeps(engine, monkeypatch):
    """Whatever is done is done by the calls of `poll`: so many of them are enough, and there is no thread to starve."""
    engine("for n in range(500): say('progress', stage='read', fraction=n / 500)\ndone()")
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail(f"thread {self.name}"))
    heard = Heard()
    job = Job([a_volume()], with_choices(device="cpu"), heard)
    job.start()
    job.poll()
    while job._process.status is None:  # what it says fits into the pipe
        hold_pythons_lock()
    after_the_end = 0
    while job.running and not job._process._output.ended and after_the_end < 10:
        job.poll()
        hold_pythons_lock(0)
        after_the_end += 1
    assert heard.results == [(0, 12, [])]
    while job.running:
        job.poll()
    assert heard.ends == [False]


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


def test_a_process_that_was_never_started_is_quiet():
    process = EngineProcess(["devices"])
    process.cancel()
    process.kill()
    assert (process.running, process.status, process.pid, process.events()) == (False, None, None, [])


def test_what_the_engine_says_is_in_slicers_application_log_too(engine, caplog):
    engine("sys.stderr.write('of memory\\n' * 2000)\ndone()")
    with caplog.at_level(logging.DEBUG):
        run()
    said = [record.message for record in caplog.records if record.name == "FlarePanCancer"]
    assert "engine: of memory" in said
    assert len(said) <= LOG_LINES


# many CTs


IN_TURN = """
listed = open(sys.argv[sys.argv.index("--list") + 1], encoding="utf-8").read().splitlines()
for path in listed:
    while not os.path.exists(path):
        time.sleep(0.005)
    case = os.path.basename(path)[:5]
    there = sum(os.path.exists(one) for one in listed)
    say("progress", case, message=f"{there} there, {os.path.getsize(path)} bytes")
    done(case)
"""


def test_cts_are_handed_over_a_few_at_a_time_and_removed_when_they_are_done(engine):
    engine(IN_TURN)
    _, heard = run(12)
    assert [number for number, *_ in heard.results] == list(range(12)) and heard.failures == []
    assert max(int(text.split()[0]) for text in heard.remarks) <= AHEAD


def test_a_ct_is_written_in_steps_and_the_window_lives_in_between(tmp_path, monkeypatch):
    monkeypatch.setattr(mrml_conversion, "BYTES_A_STEP", 2 * GRID.shape_zyx[1] * GRID.shape_zyx[2] * 2)
    steps = mrml_conversion.write_ct(a_volume(), tmp_path / "a.nrrd")
    assert len([None for _ in steps]) == 3  # six slices, two a step
    assert [path.name for path in tmp_path.iterdir()] == ["a.nrrd"]
    steps = mrml_conversion.write_ct(a_volume(), tmp_path / "b.nrrd")
    next(steps)
    steps.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nrrd"], "half a file is none"


@pytest.mark.parametrize("kind", ["i2", "u2", "i4", "f4", "f8", ">i2"])
def test_the_engine_reads_every_type_of_voxel_that_a_node_may_have(tmp_path, kind):
    hu = (np.arange(480).reshape(GRID.shape_zyx) * 4 - (1000 if kind != "u2" else 0)).astype(kind)
    for order in (hu, hu[:, ::-1]):
        for _ in mrml_conversion.write_ct(Volume(order, GRID, "CT"), tmp_path / "a.nrrd"):
            pass
        again = read_volume(tmp_path / "a.nrrd", force=True)
        assert np.array_equal(again.hu, order) and again.geometry.same_as(GRID)


def test_a_ct_that_cannot_be_written_costs_no_other(engine, monkeypatch):
    engine(
        IN_TURN.replace("done(case)", "done(case) if os.path.getsize(path) else say('error', case, message='empty')")
    )
    real = mrml_conversion.write_ct

    def write(volume, path):
        if path.name.startswith("00001"):
            raise OutputError("The disk is full.")
        return real(volume, path)

    monkeypatch.setattr(ct_files, "write_ct", write)
    _, heard = run(3)
    assert [number for number, *_ in heard.results] == [0, 2]
    assert heard.failures == [(1, "The CT cannot be handed over: The disk is full.")]


def test_where_nothing_more_can_be_written_the_run_ends(engine, monkeypatch):
    engine(IN_TURN)

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(ct_files, "write_ct", fail)
    monkeypatch.setattr(ct_files.CtFiles, "give_up", fail)
    _, heard = run(3)
    assert heard.results == [] and heard.ends == [False]
    assert [number for number, _ in heard.failures] == [0, None]
    assert "temporary folder cannot be written" in heard.failures[1][1]


def test_a_list_of_cts_goes_by_file_however_long_it_is(tmp_path):
    request = with_choices(structures=["liver"], roi_lps_mm=(-1.4e-14, 1e-9, -20, 20, 0, 50.5))
    words = request.arguments(tmp_path / "cts.txt", tmp_path / "results", tmp_path / "previews")
    assert words[:4] == ["segment", "--list", str(tmp_path / "cts.txt"), "--await-inputs"]
    parsed = cli._parser().parse_args(words)
    assert parsed.roi == [0, 0, -20, 20, 0, 50.5], "numbers that begin with - are none of argparse's options"
