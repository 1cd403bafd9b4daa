"""What the tests of the panel share: Slicer's MRML scene, and the stand-in for its Qt layer over it."""

import json
import os
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "slicer")]

import slicer  # noqa: E402
from boot import application_logic, boot, clear  # noqa: E402
from helpers import ct_node, ijk_to_ras  # noqa: E402
from slicers_packages import SLICERS_VERSIONS, Slicer, put  # noqa: E402
from standin import dialogs, module, sample_data  # noqa: E402
from standin.install import install  # noqa: E402
from tiny_panel import UI  # noqa: E402

from FlarePanCancerLib import dependencies  # noqa: E402
from flareseg.model.catalogue import find_model  # noqa: E402

MODULE = HERE.parents[1] / "FlarePanCancer" / "FlarePanCancer.py"


def pytest_report_header():
    sources = os.environ.get("SLICER_PYTHON_SOURCES")
    return f"base classes of the module: {f'Slicer, from {sources}' if sources else 'the stand-in'}"


@pytest.fixture(scope="session")
def app():
    """slicer.app, with everything that a scripted module imports in its place."""
    return install(boot(), application_logic())


@pytest.fixture
def scene(app):
    """slicer.mrmlScene, empty but for Slicer's singletons and default nodes."""
    clear(app.mrmlScene())
    yield app.mrmlScene()
    clear(app.mrmlScene())


@pytest.fixture(autouse=True)
def nothing_goes_unseen(app, monkeypatch):
    """Qt only prints an exception in a slot, and an answer to a dialog may never be asked for: both fail here."""
    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: raised.append(error))
    dialogs.forget()
    yield raised
    left = dialogs.expected()
    dialogs.forget()
    app.settings().clear()
    assert not raised, f"raised in a slot: {raised!r}"
    assert not left, f"{left} dialogs were expected and did not come"


@pytest.fixture
def the_module(scene):
    """slicer.modules.flarepancancer, loaded as Slicer loads it; its panel is made when it is asked for."""
    loaded = module.load(MODULE)
    yield loaded
    module.unload(loaded)


@pytest.fixture
def folders_of_its_own(tmp_path, monkeypatch):
    """No test sees or changes the user's own models; Slicer's Sample Data module is empty."""
    sample_data.SampleDataLogic.registered.clear()
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FLARESEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def widget(folders_of_its_own, the_module):
    """The module's panel, entered."""
    representation = the_module.widgetRepresentation()
    representation.enter()
    yield representation.self()
    representation.exit()
    representation.self().cleanup()


@pytest.fixture
def ui(widget):
    return widget.ui


@pytest.fixture
def a_ct(scene, a_patient):
    return ct_node(a_patient.hu, ijk_to_ras(np.diag([-1, -1, 1]), (3.0, 3.0, 5.0)), "patient")


@pytest.fixture
def ready(widget, a_ct):
    """The panel with a CT chosen, and the CPU as device."""
    widget.ui.ctSelector.setCurrentNode(a_ct)
    widget.panel.parameters.device = "cpu"
    return widget


@pytest.fixture
def another_model(tmp_path):
    """A model folder like the embedded one, under another name."""
    folder = tmp_path / "mine"
    shutil.copytree(find_model("default"), folder)
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(facts | {"name": "mine"}), encoding="utf-8")
    return folder


@pytest.fixture
def node(scene):
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")


@pytest.fixture
def tiny_ct(scene):
    return slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="CT")


@pytest.fixture
def tiny_panel(scene, tmp_path):
    """A small .ui file, loaded by Slicer's own loadUI."""
    path = tmp_path / "Tiny.ui"
    path.write_text(UI)
    widget = slicer.util.loadUI(str(path))
    widget.setMRMLScene(scene)
    return widget


@pytest.fixture
def slicers_site(tmp_path, monkeypatch) -> Path:
    """The packages of a Slicer as it comes: the only ones that Python sees."""
    folder = tmp_path / "site"
    for distribution, version in SLICERS_VERSIONS.items():
        put(folder, distribution, version)
    standard = [entry for entry in sys.path if entry and "site-packages" not in entry]
    monkeypatch.setattr(sys, "path", [str(folder), *standard])
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(dependencies.platform, "machine", lambda: "x86_64")
    return folder


@pytest.fixture(name="slicer")
def slicer_of_today(slicers_site, monkeypatch) -> Slicer:
    """A Slicer of today: slicer.packaging and the PyTorch extension are there."""
    fake = Slicer(slicers_site)
    package = types.ModuleType("slicer")
    package.__path__ = []
    packaging, util, pytorch = (types.ModuleType(name) for name in ("slicer.packaging", "slicer.util", "PyTorchUtils"))
    packaging.pip_ensure = fake.pip_ensure
    util.pip_install = fake.pip_install
    pytorch.PyTorchUtilsLogic = lambda: types.SimpleNamespace(installTorch=fake.install_torch)
    for made in (package, packaging, util, pytorch):
        monkeypatch.setitem(sys.modules, made.__name__, made)
    return fake
