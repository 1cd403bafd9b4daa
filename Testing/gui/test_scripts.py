"""The batch script as a user starts it: in a process of its own, on a folder of CTs, in Python and in Slicer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flareseg.cases.manifest import NAME as MANIFEST
from flareseg.io.files import read_labels, write_volume
from flareseg.labels import by_name
from flareseg.volume import Geometry, Volume

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "FlarePanCancer" / "Scripts" / "segment_folder.py"
GEOMETRY = Geometry((20, 40, 48), (5.0, 4.0, 4.0), (-96.0, -80.0, 10.0))


@pytest.fixture
def cts(tmp_path) -> Path:
    """A folder of two good CTs and, between them, a damaged one."""
    folder = tmp_path / "CTs of today"
    z, y, x = np.ogrid[:20, :40, :48]
    for number, name in enumerate(("anna", "Über")):
        hu = np.full(GEOMETRY.shape_zyx, -1000, np.int16)
        hu[((y - 20) / 16) ** 2 + ((x - 24) / 20) ** 2 + 0 * z < 1] = 30 + 10 * number
        write_volume(Volume(hu, GEOMETRY, name), folder / f"{name}.nii.gz")
    (folder / "broken.nii.gz").write_bytes((folder / "anna.nii.gz").read_bytes()[:500])
    return folder


@pytest.fixture
def run(a_model, tmp_path):
    """Runs the script as a process; `before` is Python code that precedes it in the same process."""

    def start(*arguments: object, before: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT)]
        if before:
            code = f"{before}\nimport runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
            command = [sys.executable, "-c", code]
        own = {"FLARESEG_DATA": str(tmp_path / "data"), "FLARESEG_CACHE": str(tmp_path / "cache")}
        environment = os.environ | own | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": ""}
        options = ["--model", str(a_model), "--device", "cpu"]
        return subprocess.run(
            [*command, *map(str, arguments), *options],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment,
            cwd=tmp_path,
            timeout=120,
            check=False,
        )

    return start


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_damaged_ct_is_reported_and_the_others_are_written(run, cts, tmp_path):
    out = tmp_path / "out 1.0"
    done = run("--", cts, out, "--structures", "liver,spleen")
    assert done.returncode == 1
    assert written(out) == ["anna.seg.nrrd", MANIFEST, "Über.seg.nrrd"]
    labels, geometry = read_labels(out / "anna.seg.nrrd")
    assert geometry.same_as(GEOMETRY)
    assert set(np.unique(labels)) <= {0, by_name("liver").value, by_name("spleen").value}
    assert done.stdout.splitlines() == [
        f"anna: {out / 'anna.seg.nrrd'}",
        f"Über: {out / 'Über.seg.nrrd'}",
        "2 done, 1 failed",
    ]
    assert done.stderr.count("\n") == 1 and "broken.nii.gz" in done.stderr


def test_a_second_run_leaves_finished_cases_alone_unless_asked_to_overwrite(run, cts, tmp_path):
    (cts / "broken.nii.gz").unlink()
    out = tmp_path / "out"
    out.mkdir()
    anna = out / "anna.seg.nrrd"
    anna.write_bytes(b"done before")
    # A result that flareseg did not write, and that is none, is an error, and stays as it is.
    foreign = run(cts, out)
    assert (foreign.returncode, foreign.stdout.splitlines()[-1]) == (1, "1 done, 1 failed")
    assert foreign.stderr.count("\n") == 1 and "anna.seg.nrrd" in foreign.stderr
    assert anna.read_bytes() == b"done before"
    assert run(cts, out, "--overwrite").returncode == 0
    assert read_labels(anna)[1].same_as(GEOMETRY)
    # Its own results are left alone, and only what is missing is done.
    (out / "Über.seg.nrrd").unlink()
    before = anna.stat()
    again = run(cts, out)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "1 done, 0 failed")
    assert (anna.stat().st_ino, anna.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_wrong_usage_ends_with_status_2_and_what_is_right(run, tmp_path):
    wrong = run("only_one_argument")
    assert wrong.returncode == 2
    assert "usage: segment_folder.py" in wrong.stderr
    missing = run(tmp_path / "nowhere", tmp_path / "out")
    assert missing.returncode == 1
    assert "nowhere" in missing.stderr and "Traceback" not in missing.stderr


IN_SLICER = """
import sys, types
slicer = types.ModuleType("slicer"); slicer.__path__ = []
slicer.app = object()
slicer.util = types.ModuleType("slicer.util")
slicer.util.exit = lambda status: print(f"Slicer closes with {status}")
sys.modules.update({"slicer": slicer, "slicer.util": slicer.util})
"""


def test_in_slicer_the_application_is_closed_with_the_status(run, cts, tmp_path):
    done = run(cts, tmp_path / "out", before=IN_SLICER)
    assert done.stdout.splitlines()[-2:] == ["2 done, 1 failed", "Slicer closes with 1"]
    assert written(tmp_path / "out") == ["anna.seg.nrrd", MANIFEST, "Über.seg.nrrd"]


def test_in_slicer_an_unexpected_error_closes_the_application_too(run, cts, tmp_path):
    done = run(cts, tmp_path / "out", before=f"{IN_SLICER}\nsys.modules['flareseg.cli'] = None")
    assert done.stdout.splitlines() == ["Slicer closes with 1"]
    assert "ModuleNotFoundError" in done.stderr


def test_an_output_folder_that_cannot_be_made_is_reported_in_one_line(run, cts, tmp_path):
    (tmp_path / "a file").write_text("not a folder")
    done = run(cts, tmp_path / "a file")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "a file" in done.stderr and "cannot be made" in done.stderr


def test_without_the_packages_the_script_says_how_to_get_them(run, cts, tmp_path):
    bare = "import sys; sys.path[:] = [entry for entry in sys.path if 'site-packages' not in entry]"
    done = run(cts, tmp_path / "out", before=bare)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "torch, monai" in done.stderr and "openvino" not in done.stderr and "press Segment once" in done.stderr
