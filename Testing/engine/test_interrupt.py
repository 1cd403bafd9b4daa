"""How the command ends before its time: by a signal, or because whoever listens has gone."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flareseg.errors import Cancelled
from flareseg.io.files import write_volume
from flareseg.system import interrupt
from flareseg.system.interrupt import end_when, on_abandon, remove_folder, run_until_signal
from flareseg.system.listening import listener_left

FLARESEG = [sys.executable, "-m", "flareseg"]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX's signals, pipes and limits")
TOLD = "flareseg: Cancelled; no partial file was left.\n"


def started(*arguments: object, **options) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([*FLARESEG, *map(str, arguments)], **pipes)


def test_the_words_of_a_cancel_have_one_meaning():
    assert f"flareseg: {Cancelled.message}" == interrupt.CANCELLED and Cancelled.exit_status == interrupt.STATUS


SLOW_IMPORT = """
import sys
from flareseg.__main__ import run
import flareseg.system.interrupt

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "flareseg.cli":
            print("importing", flush=True)
            import time
            time.sleep(60)

sys.meta_path.insert(0, Slow())
sys.exit(run())
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_python_still_imports_is_one_line(number):
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n" + SLOW_IMPORT  # not as under nohup
    process = subprocess.Popen(
        [sys.executable, "-c", script, "devices"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    process.send_signal(number)  # twice, as by an impatient user
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, TOLD)


@posix
def test_a_hang_up_is_not_heard_under_nohup(tmp_path):
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + SLOW_IMPORT.replace("60", "0.1")
    process = subprocess.Popen([sys.executable, "-c", script, "--version"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGHUP)
    assert "flareseg" in process.communicate(timeout=60)[0]
    assert process.returncode == 0


IMPORTING = """
import sys, time
from pathlib import Path
from flareseg.__main__ import run
from flareseg.io import atomic
from flareseg.interop import import_model

def slow(path, folder, overwrite=False):
    with atomic.atomic_folder(folder) as scratch:
        (scratch / "weights.safetensors").write_bytes(bytes(1000))
        print("writing", flush=True)
        time.sleep(60)

import_model.copy_bundle = slow
sys.exit(run())
"""


@posix
def test_a_signal_while_a_model_is_imported_leaves_nothing(a_model, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTING, "models", "import", str(a_model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"FLARESEG_DATA": str(tmp_path)},
    )
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, TOLD)
    assert list((tmp_path / "models").iterdir()) == []


def test_work_within_guarded_work_hears_the_same_signal():
    heard = []

    def inner(cancelled):
        heard.append(cancelled())
        os.kill(os.getpid(), signal.SIGINT)
        while not cancelled():
            time.sleep(0.001)
        return 5

    before = signal.getsignal(signal.SIGINT)
    assert run_until_signal(lambda _: run_until_signal(inner)) == 5
    assert heard == [False] and signal.getsignal(signal.SIGINT) is before


def test_what_is_to_be_done_at_an_abandon_is_forgotten_when_it_went_well(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with on_abandon(lambda: remove_folder(tmp_path / "a")):
        assert len(interrupt._cleanups) == 1
    assert not interrupt._cleanups and (tmp_path / "a").exists()
    remove_folder(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_process_that_is_not_the_commands_own_is_not_watched():
    asked = []
    assert run_until_signal(lambda cancelled: end_when(lambda: asked.append(1) or True) or int(cancelled())) == 0
    assert not asked


PARENT = "import subprocess, sys; subprocess.run(sys.argv[1:])"
WAITING = """
import sys, time
from flareseg.commands import segment
from flareseg.system import interrupt
from flareseg.__main__ import run

class Waiting:
    def __init__(self, request, listener, cancelled, *_):
        self.cancelled = cancelled
    def run(self, cases):
        print("working", flush=True)
        while not self.cancelled():
            time.sleep(0.01)
        return 130

segment.Batch = Waiting
sys.exit(run())
"""


@posix
@pytest.mark.parametrize(
    ("progress", "nohup", "ends"), [("json", False, True), ("json", True, False), ("none", False, False)]
)
def test_an_engine_whose_parent_was_killed_ends_where_a_program_listens(a_ct, tmp_path, progress, nohup, ends):
    ct = write_volume(a_ct, tmp_path / "ct.nii.gz")
    # Said in both cases: these tests may themselves run under nohup.
    waiting = f"import signal; signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if nohup else 'SIG_DFL'})\n" + WAITING
    command = [sys.executable, "-c", PARENT, sys.executable, "-c", waiting, "segment", ct, "--progress", progress]
    parent = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "working\n"
    (engine,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    gone, _ = psutil.wait_procs([engine], timeout=60 if ends else 1.5)
    assert bool(gone) == ends
    if not ends:
        engine.kill()
    parent.stdout.close()


@posix
def test_an_engine_ends_when_nobody_reads_its_events_any_more(a_ct, tmp_path):
    ct = write_volume(a_ct, tmp_path / "ct.nii.gz")
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "segment", str(ct), "--progress", "json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "working\n"
    process.stdout.close()
    assert process.wait(60) == 130


@posix
def test_a_listener_that_is_there_has_not_left(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)  # not as under nohup
    assert not listener_left()()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    monkeypatch.setattr("flareseg.system.listening.PARENT", 1234)
    assert listener_left()()
    monkeypatch.setattr("flareseg.system.listening.PARENT", 1)  # a container's first process
    assert not listener_left()()


@posix
def test_an_engine_that_is_killed_leaves_no_reading_process(a_ct, a_model, tmp_path):
    paths = [write_volume(a_ct, tmp_path / f"{name}.nii.gz") for name in "ab"]
    process = started("segment", *paths, "-o", tmp_path / "out", "--model", a_model, "--progress", "json")
    assert json.loads(process.stdout.readline())["stage"] == "read"
    deadline = time.monotonic() + 60
    while not (children := psutil.Process(process.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert len(children) == 1
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
