"""What the tests of the engine share: a small CT, a model with random weights, and the folder of real CTs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flareseg.labels import structures
from flareseg.model.bundle import save_bundle
from flareseg.model.network import build_network, dynunet_spec
from flareseg.model.plan import Intensity, Plan
from flareseg.volume import Geometry, Volume

ROOT = Path(__file__).resolve().parents[2]
REAL_CTS = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_cts() -> Path:
    """The folder of real CTs; tests that need it are skipped where it is not."""
    if not REAL_CTS.is_dir():
        pytest.skip(f"the real CTs are not at {REAL_CTS}")
    return REAL_CTS


@pytest.fixture(scope="session")
def a_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose small network has random weights: it finds everything everywhere, always the same."""
    plan = Plan(
        spacing_zyx_mm=(6.0, 6.0, 6.0),
        patch_zyx=(16, 16, 16),
        intensity=Intensity((-200.0, 300.0), 50.0, 100.0),
        network=dynunet_spec([4, 8, 8]),
        labels={0: "background"} | {structure.value: structure.name for structure in structures()},
        step=0.5,
        resampling="isotropic",
    )
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("models") / "random"
    save_bundle(
        folder,
        plan=plan,
        weights=build_network(plan).state_dict(),
        name="random",
        version="1.0",
        description="Random weights, for tests",
        licence="Apache-2.0",
        citation="none",
        provenance={},
        metrics={},
        card="Random weights.",
    )
    return folder


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
