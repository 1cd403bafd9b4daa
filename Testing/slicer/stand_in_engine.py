"""A program in the engine's place, and a listener to the job that runs it."""

import time

import numpy as np

from FlarePanCancerLib.job import Job
from FlarePanCancerLib.run_request import with_choices
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


def run(count=1, polls=20_000, after_poll=lambda job, heard: None):
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
