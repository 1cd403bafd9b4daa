"""The networks that the engine opens: on which device, with which library, and that all agree."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_networks import skip_without, small_plan, weights_of

from flareseg.errors import DeviceError, ModelError
from flareseg.inference.devices import cpu_multiplies_bf16, find_device, llvm_installed, openvino_installed
from flareseg.inference.llvm.choice import vector_lanes
from flareseg.inference.openvino_network import network_graph
from flareseg.inference.runtime import TorchNetwork, _use_group_norms, open_network, open_on_cpu
from flareseg.model.networks.architecture import Architecture
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import ARCHITECTURES, build_network, load_weights, own_weights, parameter_shapes
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.plan import Plan
from flareseg.options import Options
from flareseg.system.private_imports import import_openvino


@pytest.fixture
def a_plan() -> Plan:
    return small_plan()


@pytest.fixture
def random_weights(a_plan: Plan) -> dict[str, torch.Tensor]:
    return weights_of(a_plan)


@pytest.fixture
def openvino() -> Any:
    skip_without("openvino")
    return import_openvino()


def test_a_group_norm_per_channel_gives_what_the_instance_norm_gave(a_plan, random_weights):
    expected, network = build_network(a_plan).eval(), build_network(a_plan).eval()
    load_weights(expected, random_weights)
    load_weights(network, random_weights)
    _use_group_norms(network)
    assert not any(isinstance(module, torch.nn.InstanceNorm3d) for module in network.modules())
    image = torch.randn(1, 1, 32, 48, 16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        assert torch.allclose(network(image), expected(image), atol=1e-5)


@pytest.mark.parametrize("backend", ["torch", "openvino", "llvm"])
def test_all_backends_agree_on_a_random_network(a_plan, random_weights, backend):
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


def test_a_network_that_only_torch_has_runs_in_torch(a_plan, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, OneConvolution.name, OneConvolution())
    spec = NetworkSpec(OneConvolution.name, {"filters": [1], "strides": [1]})
    plan = Plan.from_json(replace(a_plan, network=spec).to_json())
    weights = {name: torch.ones(shape) for name, shape in parameter_shapes(plan).items()}
    network = open_on_cpu(plan, weights, Options(threads=1))
    assert isinstance(network, TorchNetwork)
    logits = network(torch.ones(1, 1, 8, 8, 8))
    assert logits.shape == (1, plan.classes, 8, 8, 8) and float(logits[0, 0, 4, 4, 4]) == 28
    if openvino_installed():
        with pytest.raises(DeviceError, match="the network 'OneConvolution' in torch only"):
            open_on_cpu(plan, weights, Options(threads=1, backend="openvino"))
    if llvm_installed() and vector_lanes():
        with pytest.raises(DeviceError, match="the network 'OneConvolution' in torch only"):
            open_on_cpu(plan, weights, Options(threads=1, backend="llvm"))


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


@pytest.mark.parametrize("backend", ["torch", "openvino", "llvm"])
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


@pytest.mark.parametrize(("backend", "name"), [("openvino", "OpenVINO"), ("llvm", "LLVM")])
def test_backends_of_the_cpu_are_refused_on_a_gpu(a_plan, random_weights, monkeypatch, backend, name):
    monkeypatch.setattr("flareseg.inference.runtime.find_device", lambda _: torch.device("mps"))
    with pytest.raises(DeviceError, match=f"{name} runs on the CPU only"):
        open_network(a_plan, random_weights, Options(threads=1, device="mps", backend=backend))


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:1", "mps:0", "", "cuda:-1"])
def test_an_unknown_device_is_told_with_the_known_ones(name):
    with pytest.raises(DeviceError, match=r"is no device; choose auto, cpu, cuda, cuda:N or mps\."):
        find_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has an NVIDIA GPU")
def test_a_missing_gpu_is_told_with_the_way_out():
    with pytest.raises(DeviceError, match="take --device cpu"):
        find_device("cuda")


@pytest.mark.parametrize(("bound", "multiplies"), [("", True), ("AVX2", False), ("avx512_core", False), ("ALL", True)])
def test_torch_computes_in_fp32_where_onednn_may_not_use_the_instructions_for_bf16(monkeypatch, bound, multiplies):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", bound)
    assert cpu_multiplies_bf16() is multiplies
