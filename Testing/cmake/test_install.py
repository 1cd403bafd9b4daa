"""What the Extensions Manager would install is the whole module, and segments a CT by itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from list_files import expected, files, named

from flareseg.io.files import read_labels, write_volume
from flareseg.volume import Geometry, Volume

ROOT = Path(__file__).resolve().parents[2]
STANDIN = Path(__file__).parent / "standin"
CMAKE = shutil.which("cmake")
REMEDY = "run python Testing/cmake/list_files.py --write"

needs_cmake = pytest.mark.skipif(CMAKE is None, reason="cmake is not installed")

# Slicer's slicer-extension-catalog-entry-schema-v1.0.2.json: these keys and no others.
CATALOGUE_KEYS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "tier": int,
}

# Runs the engine as `python -m flareseg` does; then nothing of the repository may have been imported.
SEGMENT = """
import runpy, sys
sources, installed = sys.argv[1:3]
del sys.argv[1:3]
try:
    runpy.run_module("flareseg", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
files = [str(getattr(module, "__file__", None)) for module in list(sys.modules.values())]
assert [name for name in files if name.startswith(installed)], "nothing came from the installed tree"
strays = [name for name in files if name.startswith(sources)]
assert not strays, strays
"""


def run(*command, **options):
    words = [str(part) for part in command]
    return subprocess.run(words, capture_output=True, text=True, encoding="utf-8", timeout=200, **options)


def configured(source, build, *options):
    quiet = "-DCMAKE_SUPPRESS_DEVELOPER_WARNINGS=ON"
    return run(CMAKE, "-S", source, "-B", build, f"-DSlicer_DIR={STANDIN}", quiet, *options)


def install(build, prefix):
    """The folder into which Slicer would put the module."""
    result = run(CMAKE, "--install", build, "--prefix", prefix)
    assert result.returncode == 0, result.stderr
    [folder] = prefix.rglob("qt-scripted-modules")
    return folder


def alone(installed, tmp_path):
    """An environment in which Python finds the installed tree first."""
    return os.environ | {"PYTHONPATH": str(installed), "FLARESEG_DATA": str(tmp_path / "data")}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    result = configured(ROOT, folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory):
    return install(build, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def facts(build):
    """What the extension says about itself."""
    return dict(line.split("=", 1) for line in (build / "extension.txt").read_text(encoding="utf-8").splitlines())


@pytest.fixture
def a_copy(tmp_path):
    """The extension, to be broken."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / "FlarePanCancer", folder / "FlarePanCancer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "CMakeLists.txt", folder)
    (folder / "Testing" / "cmake").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("list_files.py"), folder / "Testing" / "cmake")
    return folder


@pytest.mark.parametrize("key", expected())
def test_the_lists_are_up_to_date(key):
    should, does = expected()[key], named()[key]
    assert not set(should) - set(does), f"{key} lacks {sorted(set(should) - set(does))}: {REMEDY}"
    assert not set(does) - set(should), f"{key} names what is not there, {sorted(set(does) - set(should))}: {REMEDY}"
    assert does == should, f"{key} is out of order or names a file twice: {REMEDY}"


@needs_cmake
def test_every_file_of_the_module_is_installed_exactly_once_and_nothing_else(build, installed):
    record = (build / "install_manifest.txt").read_text(encoding="utf-8").splitlines()
    recorded = sorted(Path(name).relative_to(installed).as_posix() for name in record)
    assert not set(files()) - set(recorded), f"not installed: {sorted(set(files()) - set(recorded))}"
    assert recorded == files()
    assert sorted(path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()) == files()
    assert {".py", ".ui", ".png", ".csv", ".json", ".safetensors", ".md"} <= {Path(name).suffix for name in recorded}


@needs_cmake
def test_installed_files_are_the_same_to_the_byte(installed):
    changed = [
        name for name in files() if (installed / name).read_bytes() != (ROOT / "FlarePanCancer" / name).read_bytes()
    ]
    assert not changed


@needs_cmake
@pytest.mark.parametrize("name", ["flareseg/labels.csv", "flareseg/labels.py", "Resources/UI/FlarePanCancer.ui"])
def test_a_file_that_is_named_but_not_there_is_an_error(a_copy, tmp_path, name):
    (a_copy / "FlarePanCancer" / name).unlink()
    result = configured(a_copy, tmp_path / "build")
    assert result.returncode != 0
    assert name in result.stderr


@needs_cmake
def test_a_new_file_is_installed_once_the_lists_are_written_again(a_copy, tmp_path):
    module = a_copy / "FlarePanCancer"
    added = ["FlarePanCancerLib/added.py", "flareseg/models/other/model.json"]
    left_behind = ["FlarePanCancerLib/__pycache__/added.pyc", "flareseg/.labels.csv.swp"]
    for name in added + left_behind:
        (module / name).parent.mkdir(parents=True, exist_ok=True)
        (module / name).write_text("{}\n")
    before = (module / "CMakeLists.txt").read_text(encoding="utf-8")
    result = run(sys.executable, a_copy / "Testing" / "cmake" / "list_files.py", "--write")
    assert result.returncode == 0, result.stderr
    after = (module / "CMakeLists.txt").read_text(encoding="utf-8")
    assert sorted(set(after.splitlines()) - set(before.splitlines())) == [f"  {name}" for name in added]
    assert configured(a_copy, tmp_path / "build").returncode == 0
    folder = install(tmp_path / "build", tmp_path / "prefix")
    assert all((folder / name).is_file() for name in added)
    assert not any((folder / name).exists() for name in left_behind)


def test_lists_that_cannot_be_found_are_not_passed_over_in_silence(a_copy):
    path = a_copy / "FlarePanCancer" / "CMakeLists.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("MODULE_PYTHON_RESOURCES", "OTHER"), encoding="utf-8")
    result = run(sys.executable, a_copy / "Testing" / "cmake" / "list_files.py", "--write")
    assert result.returncode != 0
    assert "MODULE_PYTHON_RESOURCES" in result.stderr


@needs_cmake
def test_the_modules_own_test_and_slicers_generic_one_are_registered(build):
    found = re.findall(r"Test +#\d+: (\S+)", run("ctest", "-N", cwd=build).stdout)
    assert sorted(found) == ["py_FlarePanCancer", "py_nomainwindow_qSlicerFlarePanCancerModuleGenericTest"]


@needs_cmake
def test_without_testing_no_test_is_registered(tmp_path):
    assert configured(ROOT, tmp_path, "-DBUILD_TESTING=OFF").returncode == 0
    assert "Total Tests: 0" in run("ctest", "-N", cwd=tmp_path).stdout


@needs_cmake
def test_the_extension_says_what_slicer_asks(facts):
    assert facts["NAME"] == "FlarePanCancer"
    assert facts["CATEGORY"] == "Segmentation"
    assert facts["DEPENDS"] == "PyTorch"


@needs_cmake
def test_icon_and_screenshots_of_the_catalogue_are_in_the_repository(facts):
    start = facts["HOMEPAGE"].replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    addresses = [facts["ICONURL"], *facts["SCREENSHOTURLS"].split()]
    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith(start)
        assert (ROOT / address.removeprefix(start)).read_bytes().startswith(b"\x89PNG"), address


def test_the_icon_is_the_size_that_the_catalogue_shows_and_transparent():
    icon = (ROOT / "Resources" / "Icons" / "FlarePanCancer.png").read_bytes()
    width, height, colour_type = int.from_bytes(icon[16:20], "big"), int.from_bytes(icon[20:24], "big"), icon[25]
    assert (width, height) == (128, 128)
    assert colour_type == 6, "red, green, blue and alpha"
    assert (ROOT / "FlarePanCancer" / "Resources" / "Icons" / "FlarePanCancer.png").read_bytes() == icon


def test_the_catalogue_entry_follows_its_schema():
    content = (ROOT / "FlarePanCancer.json").read_bytes()
    assert b"\r" not in content
    entry = json.loads(content)
    assert entry.keys() <= CATALOGUE_KEYS.keys()
    assert {"$schema", "category", "scm_url"} <= entry.keys()
    assert {key: type(value) for key, value in entry.items()} == {key: CATALOGUE_KEYS[key] for key in entry}
    assert entry["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert 1 <= entry["tier"] <= 5


def test_the_catalogue_entry_says_the_same_as_cmake():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    said = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]+)"\)$', text, re.MULTILINE))
    [project] = re.findall(r"^project\((\w+)\)$", text, re.MULTILINE)
    entry = json.loads((ROOT / f"{project}.json").read_text(encoding="utf-8"))
    assert entry["category"] == said["CATEGORY"]
    assert entry["build_dependencies"] == said["DEPENDS"].split()
    assert entry["scm_url"] == said["HOMEPAGE"] + ".git"
    assert said["HOMEPAGE"].endswith(f"/Slicer{project}")


@needs_cmake
def test_the_installed_tree_alone_segments_a_ct(installed, a_patient, tmp_path):
    geometry = Geometry(a_patient.hu.shape, a_patient.spacing_zyx_mm)
    ct = write_volume(Volume(a_patient.hu, geometry), tmp_path / "ct.nrrd")
    environment = alone(installed, tmp_path)
    where = run(sys.executable, "-c", "import flareseg; print(flareseg.__file__)", env=environment, cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed), where.stdout + where.stderr
    arguments = ["segment", ct, "-o", tmp_path / "out.nrrd", "--device", "cpu"]
    sources = ROOT / "FlarePanCancer"
    result = run(sys.executable, "-c", SEGMENT, sources, installed, *arguments, env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    labels, _ = read_labels(tmp_path / "out.nrrd")
    truth = a_patient.labels == 1
    found = labels == 1
    assert 2 * np.sum(truth & found) / (truth.sum() + found.sum()) > 0.6


@needs_cmake
def test_the_installed_library_imports_without_torch(installed, tmp_path):
    code = (
        "import sys; import FlarePanCancerLib.dependencies, FlarePanCancerLib.run_request, FlarePanCancerLib.process;"
        "assert 'torch' not in sys.modules; print(FlarePanCancerLib.__file__)"
    )
    result = run(sys.executable, "-c", code, env=alone(installed, tmp_path), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(installed)
