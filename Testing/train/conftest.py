"""What tests of the training share: a folder of small CTs, and the paths of a run."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def data(tmp_path):
    """A folder of cases, as `small_data.patients` writes them."""
    from small_data import patients

    return patients(tmp_path / "data")


@pytest.fixture
def paths(tmp_path):
    """Those of a run that has not begun."""
    from train.common.paths import RunPaths

    return RunPaths(tmp_path / "run")
