"""What all tests share: bounded threads, the order of the files, and a model that needs no training."""

import locale
import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported, and for every process that a test starts. Two processes run tests at once, of networks so
# small that a second thread only waits; and threads that wait must not spin where others have work to do.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", KMP_BLOCKTIME="0")

import pytest
import torch

from flareseg.labels import structures
from flareseg.model.bundle import save_bundle
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network
from flareseg.model.plan import Intensity, Plan
from train.synthetic.phantom import Phantom, make_phantom


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: begun last, they would keep one of the processes busy and the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A test that bounds torch's threads does not slow down those after it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def a_patient() -> Phantom:
    """A synthetic abdomen, coarse enough for seconds; not to be changed."""
    return make_phantom(3, spacing_zyx_mm=(5.0, 3.0, 3.0), view="abdomen")


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
def own_folders(tmp_path, monkeypatch):
    """Models and downloads of the test's own, and no proxy on the way to its server."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FLARESEG_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


CHARACTERS = locale.setlocale(locale.LC_CTYPE)
"""The locale that the tests began with."""


@pytest.fixture(autouse=True)
def same_locale():
    """Qt and other libraries of earlier tests change the locale of the whole process, and with it how text is read."""
    locale.setlocale(locale.LC_CTYPE, CHARACTERS)
