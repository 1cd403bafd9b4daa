"""What the tests of the engine share: a small CT, and the folder of real CTs."""

from pathlib import Path

import numpy as np
import pytest

from flareseg.volume import Geometry, Volume

ROOT = Path(__file__).resolve().parents[2]
REAL_CTS = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_cts() -> Path:
    """The folder of real CTs; tests that need it are skipped where it is not."""
    if not REAL_CTS.is_dir():
        pytest.skip(f"the real CTs are not at {REAL_CTS}")
    return REAL_CTS


@pytest.fixture
def a_ct() -> Volume:
    """24 × 60 × 80 voxels of 5 × 3 × 3 mm: an elliptic body with a bright and a dark organ, and noise."""
    z, y, x = np.ogrid[:24, :60, :80]
    rng = np.random.default_rng(11)
    hu = np.full((24, 60, 80), -1000.0)
    hu[((y - 30) / 24) ** 2 + ((x - 40) / 34) ** 2 + 0 * z < 1] = 20
    hu[((z - 12) / 8) ** 2 + ((y - 26) / 12) ** 2 + ((x - 24) / 12) ** 2 < 1] = 110
    hu[((z - 9) / 6) ** 2 + ((y - 36) / 8) ** 2 + ((x - 58) / 7) ** 2 < 1] = -60
    hu += rng.normal(0, 12, hu.shape)
    geometry = Geometry((24, 60, 80), (5.0, 3.0, 3.0), (-120.0, -90.0, 40.0))
    return Volume(np.clip(hu, -1024, 3071).astype(np.int16), geometry, "phantom")
