"""Nothing leaves the computer, and nothing is left where nobody asked for it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flareseg.inference.devices import openvino_installed
from flareseg.io.files import write_volume
from flareseg.system.private_imports import import_openvino, without_telemetry

ROOT = Path(__file__).resolve().parents[2]
WATCHED = Path(__file__).with_name("watched")
CALLS = "trace=connect,sendto,sendmsg,sendmmsg"
IPV6_AT_HAND = re.compile(r"socket\.bind .*\('::1', 0\)\)$")
"""How urllib3, which MONAI imports where it is installed, finds out whether this computer knows IPv6: any
free port of its own, to which nobody listens or speaks."""
MOVED_BY = ("XDG_", "MPL", "FLARESEG_", "TORCHINDUCTOR", "TMP", "TEMP", "OPENVINO")


class Watched:
    """Runs Python in a new home with a new folder for temporary files, and hears of every look for another computer.

    With strace, where it works, also those that no Python code makes.
    """

    def __init__(self, folder):
        self.home, self.temporary = folder / "home", folder / "temporary"
        self._heard, self._calls = folder / "heard.txt", folder / "calls.txt"
        for made in (self.home, self.temporary):
            made.mkdir()

    def run(self, *arguments, **variables):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(MOVED_BY)}
        home = {"HOME": str(self.home), "USERPROFILE": str(self.home), "LOCALAPPDATA": str(self.home / "AppData")}
        path = os.pathsep.join(map(str, (WATCHED, ROOT / "FlarePanCancer", ROOT)))
        own = {"TMPDIR": str(self.temporary), "TEMP": str(self.temporary), "WATCHED": str(self._heard)}
        traced = ["strace", "-f", "-qq", "-e", CALLS, "-o", str(self._calls)] if strace_works() else []
        return subprocess.run(
            [*traced, sys.executable, *map(str, arguments)],
            env=kept | home | own | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=self.home.parent,
        )

    @property
    def calls_for_others(self):
        """What was heard and traced of the network."""
        texts = [file.read_text(errors="replace") for file in (self._heard, self._calls) if file.exists()]
        lines = [line for text in texts for line in text.splitlines() if not IPV6_AT_HAND.match(line)]
        # sockets between the processes of one computer have no address of a network
        return [line for line in lines if line.startswith(("socket", "urllib", "http")) or "AF_INET" in line]

    @property
    def left_behind(self):
        return sorted(str(path) for folder in (self.home, self.temporary) for path in folder.rglob("*"))


def strace_works():
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


SESSION = """
import sys
from flareseg.cli import main
ct, model, folder, *backends = sys.argv[1:]
first, second = f"{folder}/first.nii.gz", f"{folder}/second.nii.gz"
own = ["--model", model, "--device", "cpu", "--threads", "1", "--progress", "none"]
asked = ["--report", f"{folder}/report", "--measurements", f"{folder}/table.csv"]
for command in (
    ["segment", ct, "-o", first, *own, "--backend", backends[0]],
    ["segment", ct, "-o", second, *own, "--backend", backends[-1], *asked],
    ["evaluate", first, second, "-o", f"{folder}/scores.csv"],
    ["models", "list"],
    ["devices"],
):
    assert main(command) == 0, command
"""


@pytest.mark.slow
def test_a_whole_session_calls_nobody_and_leaves_nothing_in_the_home(watched, a_model, a_ct, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    backends = ["torch", "openvino"] if openvino_installed() else ["torch"]
    write_volume(a_ct, tmp_path / "ct.nii.gz")
    (tmp_path / "out").mkdir()
    done = watched.run("-c", SESSION, tmp_path / "ct.nii.gz", a_model, tmp_path / "out", *backends)
    assert done.returncode == 0, done.stderr
    assert watched.calls_for_others == []
    assert watched.left_behind == []
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {
        *("first.nii.gz", "second.nii.gz", "table.csv", "scores.csv"),
        *(str(Path("report", name)) for name in ("overview.png", "report.html")),
    }


@pytest.mark.slow
def test_the_trainings_command_calls_nobody_and_leaves_nothing_in_the_home(watched):
    pytest.importorskip("lightning", reason="lightning is not installed")
    done = watched.run("-m", "train", "--help")
    assert done.returncode == 0, done.stderr
    assert "pseudolabel" in done.stdout
    assert watched.calls_for_others == []
    assert watched.left_behind == []


def test_what_is_watched_is_heard(watched):
    done = watched.run("-c", "import socket; socket.getaddrinfo('localhost', 80); open('home/a', 'w')")
    assert done.returncode == 0, done.stderr
    assert any("getaddrinfo" in line for line in watched.calls_for_others)
    assert watched.left_behind == [str(watched.home / "a")]


def test_folders_that_matplotlib_has_are_left_to_it(watched):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    own = watched.home / "chosen"
    program = "from flareseg.system.private_imports import import_matplotlib as i; i(); import matplotlib as m; {}"
    done = watched.run("-c", program.format("print(m.get_configdir(), m.get_cachedir())"), MPLCONFIGDIR=str(own))
    assert done.stdout.split() == [str(own), str(own)], done.stderr


def test_importing_matplotlib_changes_no_variable(watched):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    program = """
import json, os
before = dict(os.environ)
from flareseg.system.private_imports import import_matplotlib
import_matplotlib()
import matplotlib.font_manager
fonts = matplotlib.font_manager.fontManager.ttflist
print(json.dumps([before == dict(os.environ), matplotlib.get_cachedir(), len(fonts)]))
"""
    done = watched.run("-c", program)
    same, folder, fonts = json.loads(done.stdout)
    assert same
    assert Path(folder).parent == watched.temporary
    assert fonts > 0
    assert watched.left_behind == []


@pytest.mark.slow
def test_loading_a_model_changes_no_variable_and_no_setting_of_torch(watched, a_model):
    program = """
import os, sys, torch
def now():
    cudnn = torch.backends.cudnn
    return (dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(), cudnn.enabled, cudnn.benchmark, cudnn.deterministic,
            cudnn.allow_tf32, torch.get_float32_matmul_precision(), torch.initial_seed())
before = now()
from flareseg import Segmenter
from flareseg.options import Options
for backend in sys.argv[2:]:
    Segmenter(sys.argv[1], Options(device="cpu", backend=backend, threads=before[1] + 1))
    assert now() == before, [pair for pair in zip(now(), before) if pair[0] != pair[1]]
"""
    backends = ["openvino", "torch"] if openvino_installed() else ["torch"]
    done = watched.run("-c", program, a_model, *backends)
    assert done.returncode == 0, done.stderr


def test_openvino_finds_no_telemetry_and_the_caller_still_does(watched):
    if not openvino_installed():
        pytest.skip("OpenVINO is not installed")
    pytest.importorskip("openvino_telemetry", reason="this OpenVINO comes without telemetry")
    program = """
import sys
import openvino_telemetry as before
from flareseg.system.private_imports import import_openvino
assert import_openvino() is sys.modules["openvino"]
import openvino_telemetry as after
assert before is after
used = [name for name, module in sys.modules.items() if name.startswith("openvino.") and module is not None
        and getattr(module, "tm", None) is before]
print(used)
"""
    done = watched.run("-c", program)
    assert done.stdout == "[]\n", done.stderr
    assert watched.calls_for_others == []
    assert watched.left_behind == []


def test_a_failed_import_gives_the_telemetry_back(monkeypatch):
    stand_in = object()
    monkeypatch.setitem(sys.modules, "openvino_telemetry", stand_in)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError):
        import_openvino()
    assert sys.modules["openvino_telemetry"] is stand_in
    monkeypatch.delitem(sys.modules, "openvino_telemetry")
    with without_telemetry(), pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
    assert "openvino_telemetry" not in sys.modules


def test_nobody_here_imports_openvino_in_another_way():
    elsewhere = re.compile(r"^\s*(import|from) openvino\b|importorskip\(.openvino\b", re.MULTILINE)
    files = [path for folder in ("FlarePanCancer", "Testing", "train") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = [path.name for path in files if elsewhere.search(path.read_text(encoding="utf-8"))]
    assert found == []
