"""What the tests on Slicer's own MRML share: one scene for the session, empty at the start of each test."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
sys.path.insert(0, str(Path(__file__).parent))

from boot import boot, clear


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
