"""What the Extensions Manager would install is the whole module, and segments a CT by itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from list_files import blocks, files

from flareseg.io.files import read_labels, write_volume
from flareseg.volume import Geometry, Volume
from train.phantom import make_phantom

ROOT = Path(__file__).resolve().parents[2]
STANDIN = Path(__file__).parent / "standin"
CMAKE = shutil.which("cmake")

pytestmark = pytest.mark.skipif(CMAKE is None, reason="cmake is not installed")


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=200, **options)


def configured(source, build):
    return run(CMAKE, "-S", source, "-B", build, f"-DSlicer_DIR={STANDIN}", "-DCMAKE_SUPPRESS_DEVELOPER_WARNINGS=ON")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    result = configured(ROOT, folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory):
    """The folder into which Slicer would put the module."""
    prefix = tmp_path_factory.mktemp("installed")
    result = run(CMAKE, "--install", build, "--prefix", prefix)
    assert result.returncode == 0, result.stderr
    [folder] = prefix.rglob("qt-scripted-modules")
    return folder


@pytest.fixture
def a_copy(tmp_path):
    """The extension without its weights, to be broken."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / "FlarePanCancer", folder / "FlarePanCancer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "CMakeLists.txt", folder)
    return folder


def test_every_file_of_the_module_is_installed_and_nothing_else(installed):
    found = sorted(path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file())
    assert found == files()
    kinds = {Path(name).suffix for name in found}
    assert {".py", ".ui", ".png", ".csv", ".json", ".safetensors", ".md"} <= kinds


def test_the_lists_are_up_to_date():
    text = (ROOT / "FlarePanCancer" / "CMakeLists.txt").read_text(encoding="utf-8")
    for key, block in blocks().items():
        assert block in text, f"{key}: run python Testing/cmake/list_files.py --write"


def test_a_file_that_is_named_but_not_there_is_an_error(a_copy, tmp_path):
    (a_copy / "FlarePanCancer" / "flareseg" / "labels.csv").unlink()
    result = configured(a_copy, tmp_path / "build")
    assert result.returncode != 0
    assert "flareseg/labels.csv" in result.stderr


def test_the_modules_own_test_and_slicers_generic_ones_are_registered(build):
    found = run("ctest", "-N", cwd=build).stdout
    assert "py_FlarePanCancer" in found
    assert "qSlicerFlarePanCancerModuleWidgetGenericTest" in found


def test_the_extension_says_what_slicer_asks(build):
    facts = dict(line.split("=", 1) for line in (build / "extension.txt").read_text().splitlines())
    assert facts["DEPENDS"] == "PyTorch"
    for key in ("ICONURL", "SCREENSHOTURLS"):
        path = facts[key].split("/main/", 1)[1]
        assert (ROOT / path).is_file(), path


def test_the_catalogue_entry_fits_the_project():
    entry = json.loads((ROOT / "FlarePanCancer.json").read_text(encoding="utf-8"))
    assert entry["$schema"].endswith("v1.0.2.json#")
    assert entry["scm_url"].endswith("/SlicerFlarePanCancer.git")
    assert (entry["category"], entry["build_dependencies"], entry["tier"]) == ("Segmentation", ["PyTorch"], 1)
    assert "project(FlarePanCancer)" in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def test_the_installed_tree_alone_segments_a_ct(installed, tmp_path):
    phantom = make_phantom(3, spacing_zyx_mm=(5.0, 3.0, 3.0), view="abdomen")
    ct = write_volume(Volume(phantom.hu, Geometry(phantom.hu.shape, phantom.spacing_zyx_mm)), tmp_path / "ct.nrrd")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(installed), "FLARESEG_DATA": str(tmp_path / "data")}
    where = run(sys.executable, "-c", "import flareseg; print(flareseg.__file__)", env=environment, cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed), where.stdout
    command = ["-m", "flareseg", "segment", ct, "-o", tmp_path / "out.nrrd", "--device", "cpu"]
    result = run(sys.executable, *command, env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    labels, _ = read_labels(tmp_path / "out.nrrd")
    truth = phantom.labels == 1
    found = labels == 1
    assert 2 * np.sum(truth & found) / (truth.sum() + found.sum()) > 0.6


def test_the_installed_library_imports_without_torch(installed, tmp_path):
    code = (
        "import sys; import FlarePanCancerLib.dependencies, FlarePanCancerLib.request, FlarePanCancerLib.process;"
        "assert 'torch' not in sys.modules; print(FlarePanCancerLib.__file__)"
    )
    result = run(sys.executable, "-c", code, env=os.environ | {"PYTHONPATH": str(installed)}, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(installed)
