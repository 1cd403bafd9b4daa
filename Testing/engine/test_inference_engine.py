"""The engine: what it does when the GPU's memory runs out, and that labels follow the CT."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_networks import small_plan, weights_of

from flareseg.errors import Cancelled
from flareseg.inference.engine import CPU_FINISHES, ON_THE_CPU, SMALLER_WINDOWS, Engine
from flareseg.inference.logits_to_labels import logits_to_labels
from flareseg.inference.runtime import open_on_cpu
from flareseg.inference.sliding import Forward
from flareseg.model.plan import Plan
from flareseg.options import Options
from flareseg.progress import Progress


@pytest.fixture
def a_plan() -> Plan:
    return small_plan()


@pytest.fixture
def random_weights(a_plan: Plan) -> dict[str, torch.Tensor]:
    return weights_of(a_plan)


class SmallGpu:
    """Stands in for a network on a GPU whose memory ends at windows of `limit` voxels."""

    device = torch.device("meta", 0)
    classes = 3

    def __init__(self, limit: int, error: Exception | None = None) -> None:
        self.limit = limit
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.sizes: list[int] = []

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        self.sizes.append(windows.numel())
        if windows.numel() > self.limit:
            raise self.error
        return windows.expand(-1, 3, -1, -1, -1)


class OnCpu(SmallGpu):
    device = torch.device("cpu")


class ByThreshold:
    """A network on the CPU that looks at one voxel at a time: which of three ranges its value lies in."""

    device = torch.device("cpu")
    classes = 3

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        return torch.cat([-windows, 1 - (windows - 1).abs(), windows - 1.5], dim=1)


def large_windows(plan: Plan) -> Plan:
    return replace(plan, patch_zyx=(32, 32, 64))


def an_engine(plan: Plan, network: Forward, on_cpu: Forward | None = None, **options: Any) -> Engine:
    return Engine(
        plan, {}, Options(**options), open_network=lambda *_: network, open_on_cpu=lambda *_: on_cpu or network
    )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["cuda", "mps", "cudnn"],
)
def test_a_gpu_without_memory_gets_smaller_windows_and_says_so(a_plan, error):
    gpu, progress = SmallGpu(32 * 32 * 16, error), Progress()
    engine = an_engine(large_windows(a_plan), gpu, OnCpu(0))
    logits = engine.logits(torch.zeros(32, 32, 64), progress)
    assert logits.shape == (3, 32, 32, 64)
    assert gpu.sizes[:2] == [32 * 32 * 64, 32 * 32 * 32] and max(gpu.sizes[2:]) == 32 * 32 * 16
    assert progress.messages == [SMALLER_WINDOWS]


def test_the_next_case_begins_with_the_windows_that_fitted(a_plan):
    gpu, progress = SmallGpu(32 * 32 * 32), Progress()
    engine = an_engine(large_windows(a_plan), gpu, OnCpu(0))
    engine.logits(torch.zeros(32, 32, 64))
    gpu.sizes.clear()
    engine.logits(torch.zeros(32, 32, 64), progress)
    assert max(gpu.sizes) == 32 * 32 * 32
    assert not progress.messages


def test_when_small_windows_do_not_fit_either_the_cpu_takes_over_for_good(a_plan):
    gpu, cpu, progress = SmallGpu(0), OnCpu(10**9), Progress()
    engine = an_engine(a_plan, gpu, cpu)
    engine.logits(torch.zeros(32, 32, 32), progress)
    assert progress.messages == [SMALLER_WINDOWS, ON_THE_CPU]
    assert cpu.sizes == [32**3]
    tried = len(gpu.sizes)
    engine.logits(torch.zeros(32, 32, 32), progress)
    assert len(gpu.sizes) == tried and len(cpu.sizes) == 2


def test_an_image_that_does_not_fit_the_gpu_is_resampled_on_the_cpu(a_plan, monkeypatch):
    def resample(hu, *arguments, **options):
        if options["device"].type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(hu.shape)

    monkeypatch.setattr("flareseg.inference.engine.resample_image", resample)
    progress = Progress()
    engine = an_engine(a_plan, SmallGpu(0), OnCpu(10**9))
    assert engine.resampled(np.zeros((8, 8, 8), np.int16), (3.0, 3.0, 3.0), progress).shape == (8, 8, 8)
    assert progress.messages == [ON_THE_CPU]


def test_labels_that_do_not_fit_the_gpu_are_finished_by_the_cpu(a_plan, monkeypatch):
    class LogitsOnGpu:
        device = torch.device("cuda", 0)

        def cpu(self):
            return torch.stack([torch.zeros(4, 4, 4), torch.ones(4, 4, 4), torch.zeros(4, 4, 4)])

    def labels_of(logits, *arguments):
        if logits.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits_to_labels(logits, *arguments)

    monkeypatch.setattr("flareseg.inference.engine.logits_to_labels", labels_of)
    progress = Progress()
    labels = an_engine(a_plan, SmallGpu(0), OnCpu(0)).labels(LogitsOnGpu(), (8, 8, 8), (1.5, 1.5, 1.5), progress)
    assert (labels == 1).all()
    assert progress.messages == [CPU_FINISHES]


@pytest.mark.parametrize(("gpu_memory_gb", "where"), [(4.0, "meta"), (0.0005, "cpu")])
def test_logits_that_would_crowd_out_the_network_are_put_together_in_the_computers_memory(
    a_plan, monkeypatch, gpu_memory_gb, where
):
    asked = []
    monkeypatch.setattr(
        "flareseg.inference.engine.predict", lambda image, *_, gather_on, **__: asked.append(gather_on) or image
    )
    an_engine(a_plan, SmallGpu(10**9), gpu_memory_gb=gpu_memory_gb).logits(torch.zeros(32, 32, 96))
    assert [device.type for device in asked] == [where]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_a_cpu_without_memory_is_a_memory_error(a_plan, error):
    with pytest.raises(MemoryError):
        an_engine(a_plan, OnCpu(0, error)).logits(torch.zeros(32, 32, 32))


def test_any_other_failure_of_the_network_is_not_taken_for_a_lack_of_memory(a_plan):
    with pytest.raises(RuntimeError, match="device-side assert"):
        an_engine(a_plan, SmallGpu(0, RuntimeError("CUDA error: device-side assert"))).logits(torch.zeros(32, 32, 32))


def test_cancelling_is_not_taken_for_a_lack_of_memory(a_plan):
    gpu = SmallGpu(10**9)
    with pytest.raises(Cancelled):
        an_engine(a_plan, gpu).logits(torch.zeros(32, 32, 64), Progress(cancelled=lambda: bool(gpu.sizes)))
    assert len(gpu.sizes) == 1


def through(engine: Engine, hu: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """HU to labels on the same grid."""
    return engine.labels(engine.logits(engine.resampled(hu, spacing)), hu.shape, spacing)


@pytest.fixture
def an_abdomen() -> np.ndarray:
    """40 × 70 × 80 voxels: air, a body of 50 HU, in it a smooth ball of 250 HU."""
    z, y, x = np.ogrid[:40, :70, :80]
    hu = np.where(((y - 35) / 32) ** 2 + ((x - 40) / 37) ** 2 + 0 * z < 1, 150, -1000)
    ball = np.exp(-(((z - 18) / 9) ** 2 + ((y - 30) / 12) ** 2 + ((x - 50) / 14) ** 2))
    return (hu + 150 * ball).astype(np.int16)


SPACING = (2.5, 1.7, 1.5)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_labels_follow_a_flipped_ct(a_plan, an_abdomen, axes):
    engine = an_engine(a_plan, ByThreshold())
    plain = through(engine, an_abdomen, SPACING)
    assert set(np.unique(plain)) == {0, 1, 2}
    flipped = np.flip(through(engine, np.flip(an_abdomen, axes), SPACING), axes)
    assert (flipped == plain).mean() > 0.9999


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 1, 0), (1, 2, 0)])
def test_labels_follow_a_ct_with_exchanged_axes(a_plan, an_abdomen, axes):
    engine = an_engine(a_plan, ByThreshold())
    plain = through(engine, an_abdomen, SPACING)
    turned = through(engine, an_abdomen.transpose(axes), tuple(SPACING[axis] for axis in axes))
    assert (turned.transpose(np.argsort(axes)) == plain).mean() > 0.9999


def test_labels_follow_a_cropped_ct(a_plan, an_abdomen):
    engine = an_engine(a_plan, ByThreshold())
    # 6 × 2.5 mm, 30 × 1.7 mm and 20 × 1.5 mm are whole voxels of the network's grid, whose places then agree
    box = (slice(6, 36), slice(30, 60), slice(20, 70))
    part, plain = through(engine, an_abdomen[box], SPACING), through(engine, an_abdomen, SPACING)[box]
    inner = (slice(3, -3),) * 3
    assert (part[inner] == plain[inner]).mean() > 0.995


def test_labels_of_a_ct_on_a_finer_grid_are_the_same_places(a_plan, an_abdomen):
    engine = an_engine(a_plan, ByThreshold())
    plain = through(engine, an_abdomen, SPACING)
    fine = an_abdomen.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    finer = through(engine, fine, (1.25, 0.85, 0.75))
    assert (finer == plain.repeat(2, 0).repeat(2, 1).repeat(2, 2)).mean() > 0.97


def test_the_same_ct_gives_the_same_labels_again(a_plan, random_weights, an_abdomen):
    engines = [Engine(a_plan, random_weights, Options(device="cpu", threads=1)) for _ in range(2)]
    first, second, again = (through(engine, an_abdomen, SPACING) for engine in (*engines, engines[0]))
    assert np.array_equal(first, second) and np.array_equal(first, again)


def test_one_window_over_a_whole_ct_is_the_direct_forward(a_plan, random_weights):
    plan = replace(a_plan, windows="fitted", patch_zyx=(48, 48, 48))
    engine = Engine(plan, random_weights, Options(device="cpu", backend="torch", threads=1))
    image = torch.randn(40, 48, 40, generator=torch.Generator().manual_seed(5))
    network = open_on_cpu(plan, random_weights, Options(backend="torch", threads=1))
    assert torch.equal(engine.logits(image), network(image[None, None])[0])


def test_mirroring_runs_with_a_real_network_and_follows_a_flip(a_plan, random_weights):
    options = Options(device="cpu", backend="torch", threads=1, mirroring=True)
    engine = Engine(replace(a_plan, mirror_axes=(0, 2)), random_weights, options)
    image = torch.randn(32, 40, 36, generator=torch.Generator().manual_seed(6))
    plain, flipped = engine.logits(image), engine.logits(image.flip(0, 2)).flip(1, 3)
    assert (plain - flipped).abs().max() < 0.05 * plain.abs().max()  # bf16 where the CPU has it


def test_images_are_clipped_and_normalised_as_the_plan_says(a_plan):
    engine = an_engine(a_plan, OnCpu(10**9), OnCpu(10**9))
    hu = np.full((8, 8, 8), -1000, np.int16)
    assert torch.allclose(engine.resampled(hu, (3.0, 3.0, 3.0)), torch.full((8, 8, 8), -2.5))
