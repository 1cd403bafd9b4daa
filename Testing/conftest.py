"""What all tests share: a model that needs no training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flareseg.labels import structures
from flareseg.model.bundle import save_bundle
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network
from flareseg.model.plan import Intensity, Plan


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A test that bounds torch's threads does not slow down those after it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


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
