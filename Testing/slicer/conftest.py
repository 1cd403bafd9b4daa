"""What the tests on Slicer's own MRML share: one scene for the session, empty at the start of each test."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
sys.path.insert(0, str(Path(__file__).parent))

import slicer
from boot import boot, clear
from stand_in_engine import GRID, HEAD

from FlarePanCancerLib import process as engine_process
from flareseg.io.files import write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation


@pytest.fixture(scope="session")
def the_scene():
    """The one MRML scene of this process; tests take `scene`."""
    return boot()


@pytest.fixture
def scene(the_scene):
    """slicer.mrmlScene, empty but for Slicer's singletons and default nodes."""
    clear(the_scene)
    yield the_scene
    clear(the_scene)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Puts a program in the engine's place; the function takes its text."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[2:4, 3:5, 3:6] = 1
    write_segmentation(Segmentation(labels, GRID, structures()), tmp_path / "prepared.nrrd")
    package = tmp_path / "engine" / "flareseg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(engine_process, "ENGINE_FOLDER", package.parent)
    monkeypatch.setattr(engine_process, "AFTER_END_S", 0.1)
    chosen = tmp_path / "temporary"
    chosen.mkdir()
    monkeypatch.setattr(slicer, "app", SimpleNamespace(temporaryPath=str(chosen)), raising=False)

    def put(text):
        (package / "__main__.py").write_text(f"PREPARED = {str(tmp_path / 'prepared.nrrd')!r}\n{HEAD}\n{text}")

    put.temporary = chosen
    put.pids = tmp_path / "pids"
    return put
