"""First use: what is missing, how it is asked for, and what can be done by hand.

The lists of installed packages are real ones, in a folder of their own.
"""

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib")
from slicers_packages import ALPHA, BETA, SLICERS_VERSIONS, put
from standin import sample_data

from FlarePanCancerLib import dependencies
from FlarePanCancerLib.dependencies import describe, manual_commands, missing

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "FlarePanCancer"


def test_the_list_is_that_of_pyproject_without_what_slicer_brings(slicers_site):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["cpu"]}
    listed = {requirement.text for requirement in dependencies.requirements()}
    assert listed <= wanted
    left = {re.match(r"[\w-]+", text).group() for text in wanted - listed}
    assert left == {"SimpleITK", "numpy", "scipy", "pydicom", "psutil"}


def test_the_engine_imports_nothing_that_neither_slicer_nor_the_list_has(slicers_site):
    listed = {requirement.module for requirement in dependencies.requirements()}
    slicers = {"numpy", "scipy", "SimpleITK", "pydicom"}
    # psutil is only for `flareseg bench`, matplotlib (with PIL) for --report, highdicom for results in DICOM,
    # dicomweb-client (with requests) for `flareseg pacs`, onnx for `models export`, distributed for --scheduler,
    # pyarrow for .parquet; none need be installed
    elsewhere = {"psutil", "matplotlib", "PIL", "highdicom", "dicomweb_client", "requests", "onnx"}
    elsewhere |= {"distributed", "pyarrow"}
    found = set()
    for path in (MODULE_FOLDER / "flareseg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    assert found - set(sys.stdlib_module_names) - {"flareseg"} - slicers - elsewhere <= listed


def test_importing_and_asking_loads_neither_torch_nor_slicer():
    code = (
        "import sys\n"
        "from FlarePanCancerLib import dependencies, installer\n"
        "dependencies.missing()\n"
        "heavy = {'torch', 'monai', 'cc3d', 'openvino', 'llvmlite', 'tqdm', 'slicer', 'qt', 'vtk', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(MODULE_FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]"]


def test_a_fresh_slicer_lacks_everything(slicers_site):
    assert [requirement.distribution for requirement in missing()] == [
        *("torch", "monai", "connected-components-3d", "safetensors", "tqdm", "openvino", "llvmlite")
    ]
    assert [requirement.distribution for requirement in dependencies.blocking(missing())] == [
        *("torch", "monai", "connected-components-3d", "safetensors", "tqdm")
    ]


def test_a_slicer_that_has_everything_lacks_nothing(slicers_site):
    for requirement in dependencies.requirements():
        put(slicers_site, requirement.distribution, requirement.at_least, module=requirement.module)
    assert missing() == ()
    assert missing([]) == ()


@pytest.mark.parametrize(
    ("version", "will_do"),
    [
        ("1.5", True),
        ("1.5.0", True),
        ("1.5.2", True),
        ("1.10", True),
        ("1.6.0+cpu", True),
        ("1.5.0rc1", True),
        ("1.4.9", False),
        ("0.9", False),
        ("2.0.0", False),
        ("unknown", False),
    ],
)
def test_a_version_outside_the_bounds_counts_as_missing(slicers_site, version, will_do):
    put(slicers_site, "flare-alpha", version)
    assert missing([ALPHA]) == (() if will_do else (ALPHA,))


def test_what_an_unfinished_removal_left_behind_counts_as_missing(slicers_site):
    put(slicers_site, "flare-alpha", "1.6", whole=False)
    put(slicers_site, "flare-beta", "0.5")
    next(slicers_site.glob("flare_beta-*.dist-info/METADATA")).unlink()
    assert missing([ALPHA, BETA]) == (ALPHA, BETA)


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("darwin", "x86_64"), ("linux", "aarch64")])
def test_openvino_and_llvmlite_are_only_asked_for_where_they_help(slicers_site, monkeypatch, system, machine):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(dependencies.platform, "machine", lambda: machine)
    assert not {"openvino", "llvmlite"} & {requirement.distribution for requirement in missing()}


def test_the_question_names_every_package_its_size_and_the_sum(slicers_site, monkeypatch):
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: "/usr/bin/nvidia-smi" if "nvidia" in name else None)
    question = describe(missing())
    for requirement in missing():
        assert f"{requirement.distribution} ({requirement.purpose}" in question
    assert "2.9 GB" in question and "60 MB" in question and "About 3.0 GB" in question
    assert "\n" not in question and question.endswith("?")
    assert "with torchvision and light-the-torch" in question and "9 Python packages" in question
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: None)
    assert "About 379 MB" in describe(missing())
    assert "one Python package" in describe([ALPHA]) and "About 2 MB" in describe([ALPHA])


def a_wheel(folder: Path, name: str, version: str, needs: str) -> None:
    folder.mkdir(exist_ok=True)
    record = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "")
        wheel.writestr(f"{record}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        wheel.writestr(f"{record}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{record}/RECORD", "")


def test_the_commands_by_hand_install_without_a_network_and_leave_numpy_alone(tmp_path, monkeypatch):
    a_wheel(tmp_path / dependencies.WHEELS, "flare_alpha", "1.9", "Requires-Dist: numpy>=99\n")
    a_wheel(tmp_path / dependencies.WHEELS, "flare_alpha", "2.1", "")
    monkeypatch.setattr(dependencies, "python_slicer", lambda: f'"{sys.executable}"')
    (line,) = [line for line in manual_commands([ALPHA]).splitlines() if "pip install" in line]
    done = subprocess.run(f"{line} --target new", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["flare_alpha", "flare_alpha-1.9.dist-info"]


def test_the_commands_by_hand_name_each_package_once_a_step_and_only_torch_with_what_it_needs(slicers_site):
    lines = manual_commands(missing()).splitlines()
    commands = [line.strip() for line in lines if " -m pip " in line]
    torch_lines = [line for line in commands if '"torch>=2.4"' in line]
    others = [line for line in commands if line not in torch_lines]
    assert [line.split(" -m pip ")[1].split()[0] for line in commands] == ["download", "download", "install", "install"]
    assert len(torch_lines) == 2 and not any("--no-deps" in line for line in torch_lines)
    assert len(others) == 2 and all("--no-deps" in line for line in others)
    assert all(f'"{requirement.text}"' in line for line in others for requirement in missing()[1:])
    assert not any(own in "".join(commands) for own in SLICERS_VERSIONS)


def test_a_path_with_a_space_is_quoted_in_commands(monkeypatch):
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: "/opt/Slicer 5.12/bin/PythonSlicer")
    assert dependencies.python_slicer() == '"/opt/Slicer 5.12/bin/PythonSlicer"'


def test_the_sample_ct_is_registered_with_its_checksum_and_a_picture(monkeypatch):
    from FlarePanCancerLib import sampledata
    from flareseg.commands.sample import FILE_NAME, SHA256

    registered: list[dict[str, object]] = []
    monkeypatch.setattr(sample_data.SampleDataLogic, "registered", registered)
    monkeypatch.setitem(sys.modules, "SampleData", sample_data)
    sampledata.register(MODULE_FOLDER / "Resources")
    (sample,) = registered
    assert (sample["category"], sample["fileNames"]) == ("FLARE", FILE_NAME)
    assert sample["checksums"] == f"SHA256:{SHA256}"
    assert str(sample["uris"]).startswith("https://") and sample["nodeNames"]
    header = Path(str(sample["thumbnailFileName"])).read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert 64 <= int.from_bytes(header[16:20], "big") <= 128 and header[16:20] == header[20:24]
