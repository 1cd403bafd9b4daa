"""However the engine's process ends, nothing that it started is left, and nobody waits."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from helpers import alive
from stand_in_engine import run

from FlarePanCancerLib import process as engine_process

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
        if len(heard.fractions) > 1 and not seen:
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
