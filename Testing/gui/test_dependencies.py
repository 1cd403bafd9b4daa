"""First use: what is missing, how it is asked for, installed, and explained when it cannot be.

The lists of installed packages are real ones, in a folder of their own; what installs into it stands in for Slicer's
installer, the PyTorch extension, and the network, none of which is tested here.
"""

import ast
import os
import re
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from subprocess import CalledProcessError

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib")

from standin import sample_data

from FlarePanCancerLib import dependencies, installer
from FlarePanCancerLib.dependencies import DependencyError, Requirement, describe, manual_commands, missing

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "FlarePanCancer"
ALPHA = Requirement("flare-alpha", "flare_alpha", "1.5", 2, "the first", below="2")
BETA = Requirement("flare-beta", "flare_beta", "0.4", 1, "the second")
EXTRA = Requirement("flare-extra", "flare_extra", "1", 60, "speed", optional=True)
TORCH = dependencies.requirements()[0]
SLICERS_VERSIONS = {"numpy": "2.0.2", "SimpleITK": "2.5.0", "scipy": "1.14.1"}


def put(site: Path, distribution: str, version: str, *, module: str | None = None, whole: bool = True) -> None:
    """Install a package as pip leaves it: its code, and the record of its name and version."""
    name = distribution.replace("-", "_")
    for old in site.glob(f"{name}-*.dist-info"):
        (old / "METADATA").unlink()
        old.rmdir()
    record = site / f"{name}-{version}.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    code = site / (module or name)
    code.mkdir(exist_ok=True)
    if whole:
        (code / "__init__.py").touch()


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """The packages of a Slicer as it comes: the only ones that Python sees."""
    folder = tmp_path / "site"
    for distribution, version in SLICERS_VERSIONS.items():
        put(folder, distribution, version)
    standard = [entry for entry in sys.path if entry and "site-packages" not in entry]
    monkeypatch.setattr(sys, "path", [str(folder), *standard])
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(dependencies.platform, "machine", lambda: "x86_64")
    return folder


class Slicer:
    """Stands in for Slicer's installers: notes what they were asked, and does it in the site folder."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.calls: list[tuple] = []
        self.offers = {"torch": "2.9.0+cpu", "flare-alpha": "1.6.1", "flare-beta": "0.8.0", "flare-extra": "2025.1"}
        self.prints: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.replaces: dict[str, str] = {}

    def pip_ensure(self, requirements, **options):
        self.calls.append(("pip_ensure", requirements, options))
        self._do(requirements[0])

    def pip_install(self, requirements, **options):
        self.calls.append(("pip_install", requirements, options))
        self._do(requirements[-1])

    def install_torch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
        self.calls.append(("installTorch", askConfirmation, torchVersionRequirement))
        self._do("torch")

    def _do(self, requirement: str) -> None:
        name = re.match(r"[\w-]+", requirement).group()
        for line in self.prints:
            print(line)
        for package, version in self.replaces.items():
            put(self.site, package, version)
        if name in self.fails:
            raise self.fails[name]
        if name in self.offers:
            put(self.site, name, self.offers[name])


@pytest.fixture
def slicer(site, monkeypatch) -> Slicer:
    """A Slicer of today: slicer.packaging and the PyTorch extension are there."""
    fake = Slicer(site)
    package = types.ModuleType("slicer")
    package.__path__ = []
    packaging, util, pytorch = (types.ModuleType(name) for name in ("slicer.packaging", "slicer.util", "PyTorchUtils"))
    packaging.pip_ensure = fake.pip_ensure
    util.pip_install = fake.pip_install
    pytorch.PyTorchUtilsLogic = lambda: types.SimpleNamespace(installTorch=fake.install_torch)
    for module in (package, packaging, util, pytorch):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake


@pytest.fixture
def old_slicer(slicer, monkeypatch) -> Slicer:
    """A Slicer before slicer.packaging."""
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    return slicer


class User:
    """Answers, listens, and may lose patience."""

    def __init__(self, *, agrees: bool = True, patience: int = 99) -> None:
        self.agrees, self.patience = agrees, patience
        self.asked: list[str] = []
        self.heard: list[str] = []

    def install(self, *absent: Requirement) -> bool:
        return installer.install(absent, confirm=self._confirm, progress=self.heard.append, cancelled=self._cancelled)

    def _confirm(self, text: str) -> bool:
        self.asked.append(text)
        return self.agrees

    def _cancelled(self) -> bool:
        self.patience -= 1
        return self.patience < 0


def test_the_list_is_that_of_pyproject_without_what_slicer_brings(site):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["cpu"]}
    listed = {requirement.text for requirement in dependencies.requirements()}
    assert listed <= wanted
    left = {re.match(r"[\w-]+", text).group() for text in wanted - listed}
    assert left == {"SimpleITK", "numpy", "scipy", "pydicom", "psutil"}


def test_the_engine_imports_nothing_that_neither_slicer_nor_the_list_has(site):
    listed = {requirement.module for requirement in dependencies.requirements()}
    slicers = {"numpy", "scipy", "SimpleITK", "pydicom"}
    # psutil is only for `flareseg bench`, matplotlib for --report, onnx for `models export`; none need be installed
    elsewhere = {"psutil", "matplotlib", "highdicom", "onnx"}
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
        "heavy = {'torch', 'monai', 'cc3d', 'openvino', 'tqdm', 'slicer', 'qt', 'vtk', 'numpy'}\n"
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


def test_a_fresh_slicer_lacks_everything(site):
    assert [requirement.distribution for requirement in missing()] == [
        *("torch", "monai", "connected-components-3d", "safetensors", "tqdm", "openvino")
    ]
    assert [requirement.distribution for requirement in dependencies.blocking(missing())] == [
        *("torch", "monai", "connected-components-3d", "safetensors", "tqdm")
    ]


def test_a_slicer_that_has_everything_lacks_nothing(site):
    for requirement in dependencies.requirements():
        put(site, requirement.distribution, requirement.at_least, module=requirement.module)
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
def test_a_version_outside_the_bounds_counts_as_missing(site, version, will_do):
    put(site, "flare-alpha", version)
    assert missing([ALPHA]) == (() if will_do else (ALPHA,))


def test_what_an_unfinished_removal_left_behind_counts_as_missing(site):
    put(site, "flare-alpha", "1.6", whole=False)
    put(site, "flare-beta", "0.5")
    next(site.glob("flare_beta-*.dist-info/METADATA")).unlink()
    assert missing([ALPHA, BETA]) == (ALPHA, BETA)


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("darwin", "x86_64"), ("linux", "aarch64")])
def test_openvino_is_only_asked_for_where_it_helps(site, monkeypatch, system, machine):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(dependencies.platform, "machine", lambda: machine)
    assert "openvino" not in [requirement.distribution for requirement in missing()]


def test_the_question_names_every_package_its_size_and_the_sum(site, monkeypatch):
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: "/usr/bin/nvidia-smi" if "nvidia" in name else None)
    question = describe(missing())
    for requirement in missing():
        assert f"{requirement.distribution} ({requirement.purpose}" in question
    assert "2.9 GB" in question and "60 MB" in question and "About 3.0 GB" in question
    assert "\n" not in question and question.endswith("?")
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: None)
    assert "About 319 MB" in describe(missing())
    assert "one Python package" in describe([ALPHA]) and "About 2 MB" in describe([ALPHA])


def test_one_question_then_torch_by_its_extension_and_the_rest_by_slicers_installer(slicer):
    user = User()
    assert user.install(TORCH, ALPHA, BETA) is True
    assert user.asked == [describe([TORCH, ALPHA, BETA])]
    options = {
        "skip_packages": ["torch", "SimpleITK", "numpy"],
        "prompt_install": False,
        "prompt_restart": False,
        "requester": "FlarePanCancer",
    }
    assert slicer.calls == [
        ("installTorch", False, ">=2.4"),
        ("pip_ensure", ["flare-alpha>=1.5,<2"], options),
        ("pip_ensure", ["flare-beta>=0.4"], options),
    ]
    assert missing([TORCH, ALPHA, BETA]) == ()
    assert user.heard[0].startswith("Installing torch (1 of 3, ")
    assert user.heard[-1] == "Installed: torch, flare-alpha, flare-beta."


def test_an_older_slicer_installs_each_package_without_what_it_depends_on(old_slicer):
    assert User().install(ALPHA) is True
    assert old_slicer.calls == [("pip_install", ["--no-deps", "flare-alpha>=1.5,<2"], {})]


def test_nothing_is_asked_when_nothing_is_missing(slicer):
    user = User()
    assert user.install() is True
    assert (user.asked, slicer.calls) == ([], [])


def test_a_user_who_says_no_gets_nothing_installed(slicer):
    assert User(agrees=False).install(TORCH, ALPHA) is False
    assert slicer.calls == []


def test_cancelling_stops_before_the_next_package_and_says_what_is_there(slicer):
    user = User(patience=1)
    assert user.install(ALPHA, BETA) is False
    assert len(slicer.calls) == 1
    assert user.heard[-1] == (
        "Cancelled. Installed: flare-alpha. Still missing: flare-beta; trying again goes on from here."
    )
    assert User().install(*missing([ALPHA, BETA])) is True
    assert [call[1] for call in slicer.calls] == [["flare-alpha>=1.5,<2"], ["flare-beta>=0.4"]]


def test_pips_lines_are_heard_while_it_works_and_still_printed(slicer, capsys):
    slicer.prints = ["Collecting flare-alpha", "Downloading flare_alpha.whl (2 MB)"]
    user = User()
    user.install(ALPHA)
    assert user.heard[1:3] == slicer.prints
    assert capsys.readouterr().out.splitlines() == slicer.prints
    assert sys.stdout.__class__ is not installer._Tee


def test_a_listener_that_prints_does_not_hear_itself(slicer, capsys):
    slicer.prints = ["Collecting flare-alpha"]
    installer.install((ALPHA,), confirm=lambda text: True, progress=print, cancelled=lambda: False)
    assert capsys.readouterr().out.count("Collecting flare-alpha") == 2


def test_without_the_pytorch_extension_the_user_is_sent_to_it_before_any_question(slicer, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    user = User()
    with pytest.raises(DependencyError, match=r"extension 'PyTorch'.*Extensions Manager, restart Slicer") as raised:
        user.install(TORCH, ALPHA)
    assert (user.asked, slicer.calls) == ([], [])
    assert "pip download" in raised.value.details


def test_users_of_a_slicer_for_intel_macs_learn_what_works_instead(slicer, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(DependencyError, match=r"Intel Macs.*flareseg segment"):
        User().install(TORCH)
    assert slicer.calls == []


def test_when_one_fails_the_others_are_accounted_for(slicer):
    slicer.fails["flare-beta"] = CalledProcessError(1, "pip")
    slicer.prints = ["Collecting it", "ERROR: no matching wheel for this Python", "ERROR: giving up"]
    with pytest.raises(DependencyError) as raised:
        User().install(ALPHA, BETA)
    assert str(raised.value) == (
        "flare-beta could not be installed (ERROR: no matching wheel for this Python); the commands under Details do "
        "it by hand. Installed: flare-alpha. Still missing: flare-beta; trying again goes on from here."
    )
    assert '"flare-beta>=0.4"' in raised.value.details and "flare-alpha" not in raised.value.details


def test_an_optional_package_that_fails_stops_nothing(slicer):
    slicer.fails["flare-extra"] = CalledProcessError(1, "pip")
    user = User()
    assert user.install(EXTRA, ALPHA) is True
    assert missing([ALPHA]) == ()
    assert any("flare-extra" in line and "works without it" in line for line in user.heard)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full: free 6 MB"),
        ("ERROR: [WinError 5] Access is denied: 'C:\\Slicer\\torch'", "install Slicer where you may write"),
        ("ProxyError('Cannot connect to proxy.')", "Check the network and the proxy"),
    ],
)
def test_known_failures_say_what_to_do(slicer, line, advice):
    slicer.prints, slicer.fails = [line], {"flare-alpha": CalledProcessError(1, "pip")}
    with pytest.raises(DependencyError, match=re.escape(advice)) as raised:
        User().install(ALPHA)
    assert "\n" not in str(raised.value)


def test_a_package_in_use_that_cannot_be_replaced_asks_for_a_restart(slicer, monkeypatch):
    monkeypatch.setitem(sys.modules, "flare_alpha", types.ModuleType("flare_alpha"))
    slicer.fails["flare-alpha"] = PermissionError(13, "Permission denied")
    with pytest.raises(DependencyError, match="in use: restart Slicer"):
        User().install(ALPHA)


def test_a_torch_that_is_there_but_does_not_load_asks_for_a_restart(slicer, site):
    put(site, "torch", "2.9.0")
    slicer.fails["torch"] = ImportError("DLL load failed")
    with pytest.raises(
        DependencyError, match=r"torch was installed but does not work yet \(DLL load failed\): restart"
    ):
        User().install(TORCH)


def test_an_installer_that_does_nothing_is_noticed(slicer):
    del slicer.offers["flare-alpha"]
    with pytest.raises(DependencyError, match=r"not usable although.*--force-reinstall \"flare-alpha>=1.5,<2\""):
        User().install(ALPHA)


@pytest.mark.parametrize("ends", ["well", "badly"])
@pytest.mark.parametrize("package", ["numpy", "scipy", "SimpleITK", "torch"])
def test_a_package_of_slicers_own_that_was_replaced_is_reported_loudly(slicer, site, package, ends):
    put(site, "torch", "2.9.0+cu128")
    slicer.replaces[package] = "99.0"
    if ends == "badly":
        slicer.fails["flare-extra"] = CalledProcessError(1, "pip")
    old = SLICERS_VERSIONS.get(package, "2.9.0+cu128")
    with pytest.raises(DependencyError, match=rf"^WARNING: .*{package} {re.escape(old)} by 99.0") as raised:
        User().install(EXTRA, BETA)
    advice = {"SimpleITK": "install Slicer anew", "torch": "install PyTorch again in Slicer's module PyTorch Utils"}
    assert advice.get(package, f"pip install --no-deps {package}=={old}") in str(raised.value)
    assert len(slicer.calls) == 1


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


def test_the_commands_by_hand_name_each_package_once_a_step_and_only_torch_with_what_it_needs(site):
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


def test_what_pip_says_without_a_network_is_understood(slicer, tmp_path):
    """The real pip, which finds no index; its lines are printed as Slicer prints them."""

    def pip(requirements, **_):
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--retries", "0"]
        command += ["--index-url", "http://127.0.0.1:9/simple", "--target", str(tmp_path / "new"), *requirements]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(done.stdout)
        raise CalledProcessError(done.returncode, "pip")

    sys.modules["slicer.packaging"].pip_ensure = pip
    with pytest.raises(DependencyError, match="no package index that has it was reached") as raised:
        User().install(ALPHA)
    assert "Check the network and the proxy" in str(raised.value)
    assert '"flare-alpha>=1.5,<2"' in raised.value.details


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
