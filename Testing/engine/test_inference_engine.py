"""The engine: what it does when the GPU's memory runs out, and what networks it opens."""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from flareseg.errors import Cancelled, DeviceError, ModelError
from flareseg.inference.devices import find_device, openvino_installed
from flareseg.inference.engine import CPU_FINISHES, ON_THE_CPU, SMALLER_WINDOWS, Engine
from flareseg.inference.logits_to_labels import logits_to_labels
from flareseg.inference.openvino_network import network_graph
from flareseg.inference.runtime import TorchNetwork, _use_group_norms, open_network, open_on_cpu
from flareseg.inference.sliding import Forward
from flareseg.model.networks.architecture import Architecture
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import ARCHITECTURES, build_network, load_weights, own_weights, parameter_shapes
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.plan import Intensity, Plan
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.system.private_imports import import_openvino


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


@pytest.fixture
def openvino() -> Any:
    skip_without("openvino")
    return import_openvino()


def skip_without(backend: str) -> None:
    if backend == "openvino" and not openvino_installed():
        pytest.skip("OpenVINO is not installed")


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


def test_a_group_norm_per_channel_gives_what_the_instance_norm_gave(a_plan, random_weights):
    expected, network = build_network(a_plan).eval(), build_network(a_plan).eval()
    load_weights(expected, random_weights)
    load_weights(network, random_weights)
    _use_group_norms(network)
    assert not any(isinstance(module, torch.nn.InstanceNorm3d) for module in network.modules())
    image = torch.randn(1, 1, 32, 48, 16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        assert torch.allclose(network(image), expected(image), atol=1e-5)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_torch_and_openvino_agree_on_a_random_network(a_plan, random_weights, backend):
    skip_without(backend)
    image = torch.randn(1, 1, 32, 48, 16, generator=torch.Generator().manual_seed(4))
    expected = build_network(a_plan)
    load_weights(expected, random_weights)
    with torch.no_grad():
        reference = expected.eval()(image)
    logits = open_on_cpu(a_plan, random_weights, Options(backend=backend, threads=1))(image)
    assert logits.shape == reference.shape and logits.dtype in (torch.float32, torch.float16)
    # bf16 where the CPU has it
    assert (logits.argmax(1) == reference.argmax(1)).float().mean() > 0.97
    assert (logits - reference).abs().max() < 0.05 * reference.abs().max()


NETWORKS = {
    "isotropic": dynunet_spec([4, 8, 8, 16]),
    "anisotropic": dynunet_spec([4, 8, 8], [[1, 3, 3], 3, [3, 5, 3]], [1, [1, 2, 2], 2]),
    "long strides": dynunet_spec([4, 6, 8], [3, 3, [1, 1, 3]], [1, 4, [1, 1, 3]]),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_openvino_graph_is_the_torch_network(a_plan, openvino, network):
    plan = replace(a_plan, network=network)
    torch.manual_seed(7)
    expected = build_network(plan).eval()
    for parameter in expected.parameters():
        if parameter.ndim == 1:  # norms begin as identities, which would hide a mistake
            torch.nn.init.normal_(parameter, 0.5, 0.5)
    graph = network_graph(plan, own_weights(expected.state_dict()))
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for factor in (2, 3):
        image = torch.randn(2, 1, *(factor * stride for stride in plan.stride_zyx))
        with torch.no_grad():
            reference = expected(image)
        logits = torch.from_numpy(compiled({0: image.numpy()})[0])
        assert torch.allclose(logits, reference, atol=1e-3 * float(reference.abs().max()))
        assert (logits.argmax(1) == reference.argmax(1)).float().mean() > 0.999


def test_an_openvino_start_needs_neither_monai_nor_a_file(a_plan, random_weights, openvino, tmp_path, monkeypatch):
    monkeypatch.setenv("FLARESEG_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "monai.networks.nets.dynunet", None)
    open_on_cpu(a_plan, random_weights, Options(backend="openvino", threads=1))
    assert not list(tmp_path.iterdir())


class OneConvolution(Architecture):
    """The least that a new architecture says of itself."""

    name = "OneConvolution"

    def shapes(self, spec: NetworkSpec, outputs: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (outputs, 1, 3, 3, 3), "bias": (outputs,)}

    def build(self, spec: NetworkSpec, outputs: int, deep_supervision_heads: int = 0) -> torch.nn.Module:
        return torch.nn.Conv3d(1, outputs, 3, padding=1)


def test_a_network_without_an_openvino_graph_runs_in_torch(a_plan, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, OneConvolution.name, OneConvolution())
    spec = NetworkSpec(OneConvolution.name, {"filters": [1], "strides": [1]})
    plan = Plan.from_json(replace(a_plan, network=spec).to_json())
    weights = {name: torch.ones(shape) for name, shape in parameter_shapes(plan).items()}
    network = open_on_cpu(plan, weights, Options(threads=1))
    assert isinstance(network, TorchNetwork)
    logits = network(torch.ones(1, 1, 8, 8, 8))
    assert logits.shape == (1, plan.classes, 8, 8, 8) and float(logits[0, 0, 4, 4, 4]) == 28
    if openvino_installed():
        with pytest.raises(DeviceError, match="no OpenVINO graph of the network 'OneConvolution'"):
            open_on_cpu(plan, weights, Options(threads=1, backend="openvino"))


def test_weights_of_another_network_are_refused(a_plan, random_weights, openvino):
    with pytest.raises(ModelError, match="do not fit the network: input_block"):
        network_graph(replace(a_plan, network=dynunet_spec([8, 8, 8])), random_weights)
    with pytest.raises(ModelError, match="do not fit the network"):
        network_graph(a_plan, {})


def test_a_stride_beyond_the_kernel_is_refused_as_torch_refuses_it(a_plan, openvino):
    plan = replace(a_plan, network=dynunet_spec([4, 8, 8], [3, 1, 3], [1, 4, 2]))
    weights = {name: torch.zeros(shape) for name, shape in parameter_shapes(plan).items()}
    for build in (build_network, lambda plan: network_graph(plan, weights)):
        with pytest.raises(ModelError, match="cannot be built"):
            build(plan)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_cpu_threads_are_bounded(a_plan, random_weights, backend):
    skip_without(backend)
    before = torch.get_num_threads()
    try:
        network = open_on_cpu(a_plan, random_weights, Options(backend=backend, threads=1))
        assert torch.get_num_threads() == 1
        assert "1 thread," in network.description
    finally:
        torch.set_num_threads(before)


def without_openvino(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("flareseg.inference.runtime.openvino_installed", lambda: True)
    monkeypatch.setattr("flareseg.inference.openvino_network.OpenVinoNetwork", fails)


@pytest.mark.parametrize("error", [ImportError("libtbb.so not found"), RuntimeError("unsupported processor")])
def test_where_openvino_does_not_run_torch_takes_over_unless_openvino_was_asked_for(
    a_plan, random_weights, monkeypatch, error
):
    without_openvino(monkeypatch, error)
    assert isinstance(open_on_cpu(a_plan, random_weights, Options(threads=1)), TorchNetwork)
    with pytest.raises(DeviceError, match="OpenVINO does not run here"):
        open_on_cpu(a_plan, random_weights, Options(threads=1, backend="openvino"))


def test_a_gpu_that_cannot_run_the_network_is_left_for_the_cpu_unless_it_was_asked_for(
    a_plan, random_weights, monkeypatch
):
    def no_kernel(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore lines")

    monkeypatch.setattr("flareseg.inference.runtime.find_device", lambda _: torch.device("mps"))
    monkeypatch.setattr("flareseg.inference.runtime.open_on_cpu", lambda *_: "the CPU")
    monkeypatch.setattr("flareseg.inference.runtime.TorchNetwork", no_kernel)
    assert open_network(a_plan, random_weights, Options(threads=1)) == "the CPU"
    with pytest.raises(DeviceError) as told:
        open_network(a_plan, random_weights, Options(threads=1, device="mps"))
    assert "no kernel image" in str(told.value) and "--device cpu" in str(told.value) and "\n" not in str(told.value)


def test_openvino_on_a_gpu_is_refused(a_plan, random_weights, monkeypatch):
    monkeypatch.setattr("flareseg.inference.runtime.find_device", lambda _: torch.device("mps"))
    with pytest.raises(DeviceError, match="OpenVINO runs on the CPU only"):
        open_network(a_plan, random_weights, Options(threads=1, device="mps", backend="openvino"))


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "mps:0", "", "cuda:-1"])
def test_an_unknown_device_is_told_with_the_known_ones(name):
    with pytest.raises(DeviceError, match=r"is no device; choose auto, cpu, cuda, cuda:N or mps\."):
        find_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has an NVIDIA GPU")
def test_a_missing_gpu_is_told_with_the_way_out():
    with pytest.raises(DeviceError, match="take --device cpu"):
        find_device("cuda")
