"""The self test that runs in a real Slicer: it skips with a reason, downloads aside, and fails where it should."""

import hashlib
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))
from helpers import ct_node, ijk_to_ras

from FlarePanCancerLib import dependencies, sample_fetch

pytestmark = pytest.mark.usefixtures("folders_of_its_own")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tests(the_module):
    """The module's class of tests, as Slicer's test runner finds it; messages are noted, not shown."""
    shown = []

    class Tests(sys.modules["FlarePanCancer"].FlarePanCancerTest):
        def delayDisplay(self, message, *_unused):
            shown.append(message)

    Tests.shown = shown
    return Tests


@pytest.fixture
def cache(scene, tmp_path, monkeypatch):
    """Slicer's cache, empty."""
    monkeypatch.setattr(sample_fetch, "cached_sample", lambda: tmp_path / "cache" / sample_fetch.FILE_NAME)
    return tmp_path / "cache"


def skipped(tests):
    suite = unittest.TestSuite([tests("test_segment_sample"), tests("test_cancel")])
    result = unittest.TestResult()
    suite.run(result)
    assert result.wasSuccessful(), result.failures + result.errors
    return [reason for _, reason in result.skipped]


def test_without_the_packages_it_skips_and_says_which(tests, monkeypatch):
    monkeypatch.setattr(dependencies, "missing", lambda *_: dependencies.requirements()[:2])
    assert skipped(tests) == ["torch, monai not installed; press Segment once, which installs them"] * 2
    tests().runTest()
    assert [text.split(":")[0] for text in tests.shown] == ["Skipped", "Skipped"], "Reload and Test shows no error"


def test_without_a_network_it_skips_and_says_why(tests, cache, monkeypatch):
    monkeypatch.setattr(sample_fetch, "URL", "http://127.0.0.1:9/ct.nii.gz")
    assert skipped(tests) == [reason := skipped(tests)[0]] * 2
    assert reason.startswith("127.0.0.1 is not reached") and reason.endswith(".")


def test_the_sample_is_the_registered_one_and_slicers_cache_is_used(tests, cache, monkeypatch):
    content = b"the sample CT"
    cache.mkdir()
    (cache / sample_fetch.FILE_NAME).write_bytes(content)
    monkeypatch.setattr(sample_fetch, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(sample_fetch, "_download", lambda *_: pytest.fail("it is there"))
    loaded = []
    monkeypatch.setattr(slicer.util, "loadVolume", loaded.append)
    tests()._sample()
    assert loaded == [str(cache / sample_fetch.FILE_NAME)]


def test_a_download_runs_in_a_process_of_its_own_while_the_window_lives(cache, monkeypatch, tmp_path):
    """What the child does is told by its command; a program that writes the file stands in for it."""
    content = b"the sample CT"
    monkeypatch.setattr(sample_fetch, "SHA256", hashlib.sha256(content).hexdigest())
    commands, turns = [], []
    real = sample_fetch.ProcessTree

    def tree(command, environment):
        commands.append(command)
        path = Path(command[-1])
        code = f"import pathlib; p = pathlib.Path({str(path)!r}); p.parent.mkdir(); p.write_bytes({content!r})"
        return real([sys.executable, "-c", code], environment)

    monkeypatch.setattr(sample_fetch, "ProcessTree", tree)
    assert sample_fetch.fetch_sample(lambda: turns.append(1)).read_bytes() == content
    assert turns and commands[0][1:4] == ["-m", "FlarePanCancerLib.sample_fetch", sample_fetch.URL]


def test_the_child_leaves_nothing_of_a_file_that_is_another(tmp_path):
    import http.server
    import threading

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"something else")

        def log_message(self, *_unused):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/ct.nii.gz"
        right = hashlib.sha256(b"something else").hexdigest()
        results = [fetch(address, digest, tmp_path / name) for digest, name in ((right, "a"), ("0" * 64, "b"))]
        server.shutdown()
    assert [result.returncode for result in results] == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert results[1].stderr == "What was downloaded is not the sample CT; it was discarded.\n"


def fetch(address, digest, path):
    command = [sys.executable, "-m", "FlarePanCancerLib.sample_fetch", address, digest, str(path)]
    folder = ROOT / "FlarePanCancer"
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_it_passes_where_everything_is_there(tests, scene, a_patient, monkeypatch):
    matrix = ijk_to_ras(np.diag([-1, -1, 1]), (3.0, 3.0, 5.0))
    monkeypatch.setattr(tests, "_sample", lambda self: ct_node(a_patient.hu, matrix, "sample"))
    tests().runTest()
    assert tests.shown == ["Segmenting the sample CT", "Segmented the sample CT"]
