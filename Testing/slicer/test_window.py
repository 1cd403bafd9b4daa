"""How long the window stands still while a case runs, with Python's lock held between two timers as in Slicer.

    pytest -s Testing/slicer/test_window.py

prints it, for a CT of 512×512×600 voxels, in time of the processor. Nothing is asserted of seconds, but that the CT is
handed over in many small steps, and that no thread is waited for.
"""

import ctypes
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from helpers import LIVER, SPLEEN, ct_node, ijk_to_ras

from FlarePanCancerLib import ct_files, mrml_conversion
from FlarePanCancerLib import process as engine_process
from FlarePanCancerLib.logic import Callbacks, process
from flareseg.io.files import write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation

SHAPE = (600, 512, 512)
TIMER_S = 0.04
# Slicer's engine in miniature: it waits for the CT as the real one does, and hands over a result of the same size.
ENGINE = """
ct = open(sys.argv[sys.argv.index("--list") + 1], encoding="utf-8").read().strip()
while not os.path.exists(ct):
    time.sleep(0.02)
for n in range(200):
    say("stage", stage="network", fraction=n / 200)
os.makedirs(results)
result = os.path.join(results, "00000.labels.nrrd")
shutil.copy(PREPARED.replace("prepared.nrrd", "large.labels.nrrd"), result)
say("done", output=result, measurements=[])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="usleep is POSIX's")
def test_a_large_ct_holds_the_window_up_for_no_more_than_one_step(scene, engine, tmp_path, monkeypatch):
    ct = ct_node(np.zeros(SHAPE, np.int16), ijk_to_ras(np.diag([-1, -1, 1]), (0.8, 0.8, 1.0)))
    labels = np.zeros(SHAPE, np.uint8)
    labels[100:500, 60:450, 40:470], labels[150:300, 80:200, 60:200] = LIVER, SPLEEN
    geometry = mrml_conversion.volume_of(ct).geometry
    write_segmentation(Segmentation(labels, geometry, structures()), tmp_path / "large.labels.nrrd")
    del labels
    engine(ENGINE)
    hold = ctypes.PyDLL(None).usleep  # unlike a CDLL's call, it keeps Python's lock
    written, read = [], []
    whole = mrml_conversion.read_result
    monkeypatch.setattr(engine_process, "read_result", lambda path: _timed(read, lambda: whole(path)))
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail(f"thread {self.name}"))
    steps = mrml_conversion.write_ct
    monkeypatch.setattr(ct_files, "write_ct", lambda *arguments: _counted(written, steps(*arguments)))
    done = []
    run = process(ct, device="cpu", wait=False, measure=False, callbacks=Callbacks(done=done.append))
    polls = []
    while run.running:
        before = len(done)
        _timed(polls, run.poll)
        if len(done) > before:
            fill = polls.pop() - read[-1]
        hold(int(1e6 * TIMER_S))
    assert len(done) == 1 and set(done[0].found) == {"liver", "spleen"}
    assert len(written) >= np.prod(SHAPE) * 2 / mrml_conversion.BYTES_A_STEP
    print(
        f"\n{len(written)} steps to hand over the CT; longest poll before the result {1000 * max(polls):.0f} ms; "
        f"reading the result {1000 * read[-1]:.0f} ms, into the scene {1000 * fill:.0f} ms"
    )


def _timed(seconds, work):
    began = time.process_time()
    result = work()
    seconds.append(time.process_time() - began)
    return result


def _counted(steps, generator):
    """The generator, with a note of every step."""
    for step in generator:
        steps.append(step)
        yield step
