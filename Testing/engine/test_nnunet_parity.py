"""Imported nnU-Net models say what nnU-Net said: networks to the last digits, labels voxel for voxel.

What nnU-Net said was recorded by Testing/benchmarks/record_nnunet.py, which tells how.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flareseg.inference.devices import openvino_installed
from flareseg.inference.normalization import normalize, own_statistics
from flareseg.inference.openvino_network import OpenVinoNetwork
from flareseg.inference.parity import gaussian
from flareseg.inference.runtime import TorchNetwork
from flareseg.interop.nnunet.importer import Imported, read_nnunet
from flareseg.io.files import read_labels, read_volume
from flareseg.model.plan import Intensity
from flareseg.options import Options
from flareseg.segmenter import Segmenter
from flareseg.volume import Orientation, Volume, box_of

RECORDED = Path(__file__).parent / "data" / "nnunet"
NAMES = ("anisotropic", "residual", "old")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Recorded:
    """One recording, and the model that was imported from it."""

    folder: Path
    imported: Imported
    model: Path

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))

    def image(self) -> Volume:
        return read_volume(self.folder / "image.nii.gz", force=True)

    def labels(self) -> np.ndarray:
        """nnU-Net's labels in its own numbers."""
        return read_labels(self.folder / "labels.nii.gz")[0]

    def segmenter(self, **changes: Any) -> Segmenter:
        facts = self.facts
        options = Options(device="cpu", threads=1, step=facts["step"], mirroring=facts["mirroring"])
        return Segmenter(self.model, replace(options, **changes))


@pytest.fixture(scope="module", params=NAMES)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = RECORDED / request.param
    imported = read_nnunet(folder / "model")
    model = tmp_path_factory.mktemp("imported") / request.param
    imported.save(model, name=request.param, overwrite=False)
    return Recorded(folder, imported, model)


def renumbered(labels: np.ndarray, segmenter: Segmenter) -> np.ndarray:
    """Channels as the values that the model's structures have here."""
    return np.array([0, *(structure.value for structure in segmenter.structures)], np.uint8)[labels]


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_the_networks_logits_are_nnunets(recorded: Recorded, runtime: str) -> None:
    with np.load(recorded.folder / "logits.npz") as file:
        window, expected = torch.from_numpy(file["window"]), torch.from_numpy(file["logits"])
    plan, weights = recorded.imported.plan, recorded.imported.nets[0]
    if runtime == "openvino":
        if not openvino_installed():
            pytest.skip("OpenVINO is not installed")
        network: Any = OpenVinoNetwork(plan, weights, 1, exact=True)
    else:
        network = TorchNetwork(plan, weights, CPU, exact=True)
    found = network(window[None, None])[0]
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


def test_the_labels_are_nnunets_voxel_for_voxel(recorded: Recorded) -> None:
    segmenter = recorded.segmenter()
    found, expected = segmenter.segment(recorded.image()).labels, renumbered(recorded.labels(), segmenter)
    assert np.count_nonzero(found != expected) <= 1e-4 * expected.size
    for structure in segmenter.structures:
        ours, theirs = found == structure.value, expected == structure.value
        assert theirs.sum() > 50, "the recording must find every structure, or it proves nothing"
        assert 2 * np.count_nonzero(ours & theirs) / (ours.sum() + theirs.sum()) >= 0.999


def test_parity_is_the_default_with_nnunets_step_and_mirroring(recorded: Recorded) -> None:
    image, default = recorded.image(), Segmenter(recorded.model, Options(device="cpu", threads=1))
    chosen = recorded.segmenter(step=0.5, mirroring=True, parity=True)
    assert default.device_description.endswith("torch fp32")
    assert np.array_equal(default.segment(image).labels, chosen.segment(image).labels)


def test_the_fast_way_gives_much_the_same(recorded: Recorded) -> None:
    fast = recorded.segmenter(parity=False, backend="torch")
    agreement = np.mean(fast.segment(recorded.image()).labels == renumbered(recorded.labels(), fast))
    assert agreement > (0.97 if recorded.imported.plan.intensity.scheme == "ct" else 0.85)


def test_a_volume_stored_in_another_order_is_seen_as_it_is_stored(tmp_path_factory: pytest.TempPathFactory) -> None:
    imported = read_nnunet(RECORDED / "old" / "model")
    model = tmp_path_factory.mktemp("imported") / "old"
    imported.save(model, name="old", overwrite=False)
    segmenter = Segmenter(model, Options(device="cpu", threads=1, step=1.0, mirroring=False))
    image = read_volume(RECORDED / "old" / "image.nii.gz", force=True)
    flipped = replace(image.geometry, direction=((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)))
    assert Orientation.of(flipped) != Orientation.of(image.geometry)
    expected = segmenter.segment(image).labels
    assert np.array_equal(segmenter.segment(replace(image, geometry=flipped)).labels, expected)


# The steps


def test_an_image_is_cut_to_what_is_not_zero() -> None:
    hu = np.zeros((6, 7, 8), np.int16)
    hu[2, 3, 1], hu[4, 5, 6] = -5, 7
    assert box_of(hu) == (slice(2, 5), slice(3, 6), slice(1, 7))
    assert box_of(np.zeros((2, 2, 2), np.int16)) is None


def test_each_scheme_normalises_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-500, 500, (6, 6, 6)).astype(np.int16)
    hu[0], hu[3, 3, 3] = 0, 0
    ct = normalize(hu, Intensity((-100.0, 100.0), 10.0, 50.0))
    assert ct.min() == pytest.approx(-2.2) and ct.max() == pytest.approx(1.8)
    whole = normalize(hu, Intensity((0.0, 1.0), 0.0, 1.0, "zscore"))
    assert whole.mean() == pytest.approx(0, abs=1e-5) and whole.std() == pytest.approx(1, abs=1e-5)
    inside = normalize(hu, Intensity((0.0, 1.0), 0.0, 1.0, "zscore_nonzero"))
    assert not inside[0].any(), "what is outside stays zero"
    assert inside[1:].mean() == pytest.approx(0, abs=1e-5), "a hole in the middle belongs to the inside"


def test_statistics_are_those_of_the_whole_image_not_of_the_part_that_is_looked_at() -> None:
    hu = np.zeros((4, 4, 4), np.int16)
    hu[1:3, 1:3, 1:3] = np.arange(8).reshape(2, 2, 2) + 1
    own = own_statistics(hu, Intensity((0.0, 1.0), 0.0, 1.0, "zscore"))
    assert (own.mean_hu, own.std_hu) == (pytest.approx(4.5), pytest.approx(np.arange(8).std()))
    ct = Intensity((-1.0, 1.0), 0.0, 1.0)
    assert own_statistics(hu, ct) is ct


def test_the_weights_of_a_window_are_a_gaussian_that_is_nowhere_zero_in_half_precision() -> None:
    weights = gaussian((8, 16, 32))
    assert weights.dtype == torch.half and weights.max() == 10 and weights.min() > 0
    assert weights[4, 8, 16] == 10
    assert weights[4, 8, 20] == pytest.approx(10 * np.exp(-0.5), rel=1e-3)
