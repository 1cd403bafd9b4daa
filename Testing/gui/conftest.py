"""What the tests of the panel share: Slicer's MRML scene, and the stand-in for its Qt layer over it."""

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6 is not installed")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "slicer")]

from boot import application_logic, boot, clear  # noqa: E402
from standin import dialogs, module  # noqa: E402
from standin.install import install  # noqa: E402

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
