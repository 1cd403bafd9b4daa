"""The engine: what it does when the GPU's memory runs out, and what networks it opens."""

import numpy as np
import pytest
import torch

from flareseg.errors import DeviceError
from flareseg.inference.engine import Engine
from flareseg.inference.runtime import find_device, open_on_cpu
from flareseg.model.network import build_network, dynunet_spec, load_weights, own_weights
from flareseg.model.plan import Intensity, Plan
from flareseg.options import Options
from flareseg.progress import Progress


@pytest.fixture
def a_plan() -> Plan:
    return Plan(
        spacing_zyx_mm=(3.0, 3.0, 3.0),
        patch_zyx=(32, 32, 32),
        intensity=Intensity((-200.0, 300.0), 50.0, 100.0),
        network=dynunet_spec([4, 8, 8]),
        labels={0: "background", 1: "liver", 2: "spleen"},
    )


@pytest.fixture
def random_weights(a_plan: Plan) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return own_weights(build_network(a_plan).state_dict())


class SmallGpu:
    """Stands in for a network on a GPU whose memory ends at windows of `limit` voxels."""

    device = torch.device("meta", 0)
    classes = 3

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sizes: list[int] = []

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        self.sizes.append(windows.numel())
        if windows.numel() > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return windows.expand(-1, 3, -1, -1, -1)


class OnCpu(SmallGpu):
    device = torch.device("cpu")


def an_engine(plan: Plan, network: SmallGpu, on_cpu: SmallGpu) -> Engine:
    return Engine(plan, {}, "", Options(), open_network=lambda *_: network, open_on_cpu=lambda *_: on_cpu)


def test_a_gpu_without_memory_gets_smaller_windows_and_says_so(a_plan):
    gpu, progress = SmallGpu(32 * 32 * 16), Progress()
    logits = an_engine(a_plan, gpu, OnCpu(0)).logits(torch.zeros(32, 32, 32), progress)
    assert logits.shape == (3, 32, 32, 32)
    assert gpu.sizes[0] == 32**3 and max(gpu.sizes[1:]) == 32 * 32 * 16
    assert progress.messages == ["The GPU ran out of memory; going on with smaller windows."]


def test_when_small_windows_do_not_fit_either_the_cpu_takes_over_for_good(a_plan):
    gpu, cpu, progress = SmallGpu(0), OnCpu(10**9), Progress()
    engine = an_engine(a_plan, gpu, cpu)
    engine.logits(torch.zeros(32, 32, 32), progress)
    assert progress.messages[-1] == "The GPU ran out of memory; going on with the CPU, which takes longer."
    tried = len(gpu.sizes)
    engine.logits(torch.zeros(32, 32, 32), progress)
    assert len(gpu.sizes) == tried and len(cpu.sizes) == 2


def test_a_cpu_without_memory_is_a_memory_error(a_plan):
    with pytest.raises(MemoryError):
        an_engine(a_plan, OnCpu(0), OnCpu(0)).logits(torch.zeros(32, 32, 32))


def test_images_are_clipped_and_normalised_as_the_plan_says(a_plan):
    engine = an_engine(a_plan, OnCpu(10**9), OnCpu(10**9))
    hu = np.full((8, 8, 8), -1000, np.int16)
    assert torch.allclose(engine.resampled(hu, (3.0, 3.0, 3.0)), torch.full((8, 8, 8), -2.5))


def test_torch_and_openvino_agree_on_a_random_network(a_plan, random_weights, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setenv("FLARESEG_CACHE", str(tmp_path))
    image = torch.randn(1, 1, 32, 48, 16, generator=torch.Generator().manual_seed(4))
    expected = build_network(a_plan)
    load_weights(expected, random_weights)
    with torch.no_grad():
        reference = expected.eval()(image)
    for backend, attempt in (("torch", 1), ("openvino", 1), ("openvino", 2)):  # the second from the cache
        network = open_on_cpu(a_plan, random_weights, "a key", Options(backend=backend, threads=1))
        logits = network(image)
        assert logits.shape == reference.shape and logits.dtype == torch.float32
        assert (logits.argmax(1) == reference.argmax(1)).float().mean() > 0.97, (backend, attempt)
        assert (logits - reference).abs().max() < 0.05 * reference.abs().max(), (backend, attempt)
    assert len(list(tmp_path.glob("openvino/*/network.xml"))) == 1


def test_openvino_results_of_two_windows_do_not_share_memory(a_plan, random_weights, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setenv("FLARESEG_CACHE", str(tmp_path))
    network = open_on_cpu(a_plan, random_weights, "a key", Options(backend="openvino", threads=1))
    first = network(torch.zeros(1, 1, 16, 16, 16))
    kept = first.clone()
    network(torch.ones(1, 1, 16, 16, 16))
    assert torch.equal(first, kept)


def test_a_cache_that_cannot_be_written_is_done_without(a_plan, random_weights, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("FLARESEG_CACHE", str(blocked))
    network = open_on_cpu(a_plan, random_weights, "a key", Options(backend="openvino", threads=1))
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_a_damaged_cache_is_made_anew(a_plan, random_weights, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setenv("FLARESEG_CACHE", str(tmp_path))
    open_on_cpu(a_plan, random_weights, "a key", Options(backend="openvino", threads=1))
    (cached,) = tmp_path.glob("openvino/*/network.xml")
    cached.write_text("<broken")
    network = open_on_cpu(a_plan, random_weights, "a key", Options(backend="openvino", threads=1))
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_cpu_threads_are_bounded(a_plan, random_weights):
    before = torch.get_num_threads()
    try:
        open_on_cpu(a_plan, random_weights, "a key", Options(backend="torch", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "mps:0", "", "cuda:-1"])
def test_an_unknown_device_is_told_with_the_known_ones(name):
    with pytest.raises(DeviceError, match=r"is no device; choose auto, cpu, cuda, cuda:N or mps\."):
        find_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has an NVIDIA GPU")
def test_a_missing_gpu_is_told_with_the_way_out():
    with pytest.raises(DeviceError, match="take --device cpu"):
        find_device("cuda")
