"""Networks compiled for this processor: they compute what torch computes, and are taken where they pay."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))

from small_networks import skip_without, small_plan, weights_of

from flareseg.errors import DeviceError, ModelError
from flareseg.inference import runtime
from flareseg.inference.head import Head
from flareseg.inference.llvm import choice
from flareseg.inference.llvm.choice import pays_to_compile, vector_lanes
from flareseg.inference.llvm.convolutions import Convolution
from flareseg.inference.llvm.features import Memory
from flareseg.inference.llvm.kernels import kernels
from flareseg.inference.llvm.layers import CompiledLayers
from flareseg.inference.llvm.network import CompiledNetwork
from flareseg.inference.llvm.winograd import LEAST_TILES, CubicWinograd, PlanarWinograd
from flareseg.inference.runtime import TorchNetwork, open_on_cpu
from flareseg.inference.sliding import predict
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.model.networks.unet import unet_spec
from flareseg.options import Options

CLOSE = 3e-5
"""Of the largest value: what single precision leaves to Winograd's sums and differences."""
CLOSE_IN_CUBES = 2e-4


@pytest.fixture(params=[8, 16], ids=["AVX2", "AVX-512"])
def lanes(request) -> int:
    skip_without("llvm")
    if request.param > vector_lanes():
        pytest.skip("this processor has no such vectors")
    return request.param


class OneByOne:
    """A network that does not add up windows itself."""

    def __init__(self, network: CompiledNetwork) -> None:
        self.device, self.classes, self._network = network.device, network.classes, network

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        return self._network(windows)


def layers_of(lanes: int, threads: int = 1, **weights: torch.Tensor) -> CompiledLayers:
    return CompiledLayers({name.replace("_", "."): value for name, value in weights.items()}, kernels(lanes), threads)


def computed(weight: torch.Tensor, image: torch.Tensor, stride: tuple[int, int, int], lanes: int, threads: int = 1):
    """(channels, z, y, x) through a convolution of one channel each, joined, and the convolution in question."""
    channels = len(image)
    ones = {f"one{number}.weight": torch.ones(1, 1, 1, 1, 1) for number in range(channels)}
    layers = CompiledLayers(ones | {"main.weight": weight}, kernels(lanes), threads)
    x = layers.image(image[0].numpy())
    if channels > 1:
        x = layers.convolution(x, "one0", (1, 1, 1), monai=False)
    for number in range(1, channels):
        other = layers.convolution(layers.image(image[number].numpy()), f"one{number}", (1, 1, 1), monai=False)
        x = layers.joined(x, other)
    result = layers.planar(layers.convolution(x, "main", stride, monai=False))
    return torch.from_numpy(result), layers._layers["main"]


@pytest.mark.parametrize(
    ("kernel", "stride", "shape", "kind"),
    [
        ((3, 3, 3), (1, 1, 1), (9, 17, 13), PlanarWinograd),
        ((3, 3, 3), (1, 1, 1), (2, 31, 34), PlanarWinograd),
        ((1, 3, 3), (1, 1, 1), (5, 22, 21), PlanarWinograd),
        ((3, 3, 3), (1, 1, 1), (5, 7, 6), Convolution),
        ((3, 3, 3), (2, 2, 2), (10, 18, 14), Convolution),
        ((1, 3, 3), (1, 2, 2), (3, 64, 12), Convolution),
        ((3, 5, 5), (1, 1, 1), (9, 17, 13), Convolution),
        ((1, 1, 1), (1, 1, 1), (1, 1, 1), Convolution),
        ((3, 3, 3), (1, 1, 2), (1, 1, 2), Convolution),
    ],
)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 5), (3, 40)])
def test_a_convolution_is_torchs_for_odd_sizes_and_few_channels(lanes, kernel, stride, shape, kind, inputs, outputs):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(outputs, inputs, *kernel, generator=generator)
    image = torch.randn(inputs, *shape, generator=generator)
    result, layer = computed(weight, image, stride, lanes)
    padding = [(size - 1) // 2 for size in kernel]
    expected = F.conv3d(image[None].double(), weight.double(), stride=stride, padding=padding)[0]
    assert isinstance(layer, kind) and result.shape == expected.shape
    assert (result - expected).abs().max() < CLOSE * expected.abs().max()


@pytest.mark.parametrize(
    ("shape", "threads"), [((17, 33, 29), 1), ((28, 28, 32), 3), ((5, 60, 61), 2), ((1, 64, 64), 2)]
)
@pytest.mark.parametrize(("inputs", "outputs"), [(2, 5), (3, 40)])
def test_a_convolution_in_cubes_is_torchs_for_odd_sizes_and_few_channels(lanes, shape, threads, inputs, outputs):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(outputs, inputs, 3, 3, 3, generator=generator)
    image = torch.randn(inputs, *shape, generator=generator)
    result, layer = computed(weight, image, (1, 1, 1), lanes, threads)
    expected = F.conv3d(image[None].double(), weight.double(), padding=1)[0]
    assert isinstance(layer, CubicWinograd) and result.shape == expected.shape
    assert (result - expected).abs().max() < CLOSE_IN_CUBES * expected.abs().max()


@pytest.mark.parametrize(("shape", "threads"), [((8, 16, 16), 1), ((14, 14, 16), 3), ((4, 9, 8), 2)])
def test_a_convolution_of_320_channels_is_torchs_on_any_number_of_threads(lanes, shape, threads):
    generator = torch.Generator().manual_seed(2)
    first = torch.randn(320, 1, 1, 1, 1, generator=generator)
    second = torch.randn(33, 320, 3, 3, 3, generator=generator)
    image = torch.randn(1, *shape, generator=generator)
    layers = CompiledLayers({"first.weight": first, "second.weight": second}, kernels(lanes), threads)
    x = layers.convolution(layers.image(image[0].numpy()), "first", (1, 1, 1), monai=False)
    result = torch.from_numpy(layers.planar(layers.convolution(x, "second", (1, 1, 1), monai=False)))
    expected = F.conv3d(F.conv3d(image[None].double(), first.double()), second.double(), padding=1)[0]
    assert (result - expected).abs().max() < CLOSE * expected.abs().max()


NETWORKS = {
    "isotropic": dynunet_spec([4, 8, 8, 16]),
    "anisotropic": dynunet_spec([4, 8, 8], [[1, 3, 3], 3, [3, 5, 3]], [1, [1, 2, 2], 2]),
    "long strides": dynunet_spec([4, 6, 8], [3, 3, [1, 1, 3]], [1, 4, [1, 1, 3]]),
    "wide": dynunet_spec([32, 48, 70]),
    "plain": unet_spec([8, 12, 16], [3] * 3, [1, 2, 2], residual=False, blocks=[1, 2, 2], decoder_convolutions=[1, 2]),
    "residual": unet_spec(
        [8, 12, 16], [3, 3, [1, 3, 3]], [1, 2, [1, 2, 2]], residual=True, blocks=[1, 2, 2], decoder_convolutions=[1, 1]
    ),
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_compiled_network_is_the_torch_network(network):
    skip_without("llvm")
    plan = replace(small_plan(), network=network)
    torch.manual_seed(7)
    expected = build_network(plan).eval()
    for parameter in expected.parameters():
        if parameter.ndim == 1:  # norms begin as identities, which would hide a mistake
            torch.nn.init.normal_(parameter, 0.5, 0.5)
    compiled = CompiledNetwork(plan, own_weights(expected.state_dict()), 2)
    for factor in (4, 6):
        image = torch.randn(2, 1, *(factor * stride for stride in plan.stride_zyx))
        with torch.no_grad():
            reference = expected(image)
        logits = compiled(image)
        assert logits.shape == reference.shape and logits.dtype == torch.float32
        assert torch.allclose(logits, reference, atol=1e-3 * float(reference.abs().max()))
        assert (logits.argmax(1) == reference.argmax(1)).float().mean() > 0.999


def test_a_channel_far_from_zero_that_hardly_varies_is_normalised_as_in_double_precision(lanes):
    generator = torch.Generator().manual_seed(3)
    image = 1000 + torch.randn(20, 40, 24, generator=generator)
    one = torch.ones(1)
    layers = layers_of(lanes, conv_weight=torch.ones(1, 1, 1, 1, 1), norm_weight=one, norm_bias=one)
    x = layers.normalised(layers.convolution(layers.image(image.numpy()), "conv", (1, 1, 1), monai=False), "norm")
    expected = F.instance_norm(image.double()[None, None], eps=1e-5)[0] + 1
    assert (torch.from_numpy(layers.planar(x)) - expected).abs().max() < 1e-3


def test_what_a_caller_holds_is_not_overwritten_and_what_nobody_holds_is_used_again():
    memory = Memory()
    held, dropped = memory.array(3, 4), memory.array(4, 3)  # of the same size
    held[:] = 1
    place = dropped.__array_interface__["data"][0]
    del dropped
    again, new = memory.array(12), memory.array(2, 6)
    again[:], new[:] = 2, 3
    assert again.__array_interface__["data"][0] == place
    assert np.all(held == 1) and np.all(again == 2) and np.all(new == 3)


def test_windows_of_another_size_leave_no_memory_behind(lanes):
    layers = layers_of(lanes, conv_weight=torch.ones(4, 1, 3, 3, 3))
    for size in (16, 20, 24):
        image = layers.image(np.zeros((size, size, size), np.float32))
        layers.planar(layers.convolution(image, "conv", (1, 1, 1), monai=False))
        assert sum(len(arrays) for arrays in layers._memory._free.values()) == 2


def test_logits_of_one_window_outlive_the_next_one():
    skip_without("llvm")
    plan = small_plan()
    network = CompiledNetwork(plan, weights_of(plan), 1)
    first = network(torch.zeros(1, 1, 16, 16, 16))
    before = first.clone()
    network(torch.ones(1, 1, 16, 16, 16))
    assert torch.equal(first, before)


@pytest.mark.parametrize("cut", [False, True], ids=["logits", "features"])
def test_windows_are_added_as_if_they_came_one_by_one(cut):
    skip_without("llvm")
    plan = replace(small_plan(), labels={number: f"class {number}" for number in range(9 if cut else 5)})
    weights = weights_of(plan)
    if cut:
        head = Head.worth_cutting(plan, weights)
        assert head
        plan, weights = head.cut_off(plan, weights)
    network = CompiledNetwork(plan, weights, 2)
    image = torch.randn(40, 32, 48, generator=torch.Generator().manual_seed(4))
    added = predict(image, network, (24, 32, 32), step=0.5)
    one_by_one = predict(image, OneByOne(network), (24, 32, 32), step=0.5)
    assert added.shape == one_by_one.shape == (plan.classes, 40, 32, 48)
    assert (added.float() - one_by_one.float()).abs().max() < 2e-3 * one_by_one.abs().max()


def test_a_head_that_was_cut_off_is_not_computed():
    skip_without("llvm")
    plan = replace(small_plan(), labels={number: f"class {number}" for number in range(9)})
    weights = weights_of(plan)
    head = Head.worth_cutting(plan, weights)
    assert head
    features, handing_on = head.cut_off(plan, weights)
    compiled = CompiledNetwork(features, handing_on, 1)
    window = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(5))
    found = compiled(window)
    expected = TorchNetwork(features, handing_on, torch.device("cpu"), exact=True)(window)
    assert head.name not in compiled._layers._layers
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))


def test_a_window_that_is_no_multiple_of_the_strides_is_refused():
    skip_without("llvm")
    plan = small_plan()
    network = CompiledNetwork(plan, weights_of(plan), 1)
    with pytest.raises(ValueError, match="no multiple of the network's strides"):
        network(torch.zeros(1, 1, 18, 16, 16))


def test_weights_of_another_network_are_refused():
    skip_without("llvm")
    plan = small_plan()
    with pytest.raises(ModelError, match="do not fit the network: input_block"):
        CompiledNetwork(replace(plan, network=dynunet_spec([8, 8, 8])), weights_of(plan), 1)


@pytest.fixture
def on_avx2(monkeypatch):
    """A processor of the kind for which networks are compiled."""
    monkeypatch.setattr(choice, "vector_lanes", lambda: 8)
    monkeypatch.setattr(choice, "llvm_installed", lambda: True)


def with_filters(*filters: int, kernels: list | None = None):
    return replace(small_plan(), network=dynunet_spec(list(filters), kernels))


def test_large_networks_are_compiled_and_small_ones_are_not(on_avx2, monkeypatch):
    assert pays_to_compile(with_filters(32, 64, 128))
    assert pays_to_compile(with_filters(32, 64, 128, kernels=[[1, 3, 3], 3, 3]))
    assert pays_to_compile(with_filters(16, 32, 64))
    assert not pays_to_compile(with_filters(8, 16, 32))
    assert not pays_to_compile(with_filters(32, 64, 128, kernels=[5, 3, 3]))
    monkeypatch.setattr(choice, "vector_lanes", lambda: 16)
    monkeypatch.setattr(choice, "cpu_has_amx", lambda: False)
    assert pays_to_compile(with_filters(32, 64, 128)) and not pays_to_compile(with_filters(16, 32, 64))


def test_a_processor_with_amx_without_avx2_or_without_llvmlite_compiles_nothing(on_avx2, monkeypatch):
    plan = with_filters(32, 64, 128)
    monkeypatch.setattr(choice, "cpu_has_amx", lambda: True)
    assert pays_to_compile(plan)  # which torch does not see where instructions are bounded to AVX2
    monkeypatch.setattr(choice, "vector_lanes", lambda: 16)
    assert not pays_to_compile(plan)
    monkeypatch.setattr(choice, "cpu_has_amx", lambda: False)
    assert pays_to_compile(plan)
    monkeypatch.setattr(choice, "llvm_installed", lambda: False)
    assert not pays_to_compile(plan)
    monkeypatch.setattr(choice, "llvm_installed", lambda: True)
    monkeypatch.setattr(choice, "vector_lanes", lambda: 0)
    assert not pays_to_compile(plan)


@pytest.mark.parametrize(("machine", "capability"), [("arm64", "DEFAULT"), ("aarch64", "SVE256"), ("AMD64", "DEFAULT")])
def test_other_processors_have_no_vectors_of_ours(monkeypatch, machine, capability):
    monkeypatch.setattr(choice.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert vector_lanes() == 0


def test_a_large_network_runs_compiled_unless_parity_is_asked_for(monkeypatch):
    skip_without("llvm")
    monkeypatch.setattr(runtime, "pays_to_compile", lambda plan: True)
    plan = small_plan()
    network = open_on_cpu(plan, weights_of(plan), Options(threads=1))
    assert network.description == "CPU, 1 thread, LLVM fp32"
    assert isinstance(open_on_cpu(plan, weights_of(plan), Options(threads=1, parity=True)), TorchNetwork)


@pytest.mark.parametrize("error", [ImportError("libLLVM.so not found"), RuntimeError("No available targets")])
def test_where_llvm_does_not_run_another_takes_over_unless_it_was_asked_for(monkeypatch, error):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(runtime, "pays_to_compile", lambda plan: True)
    monkeypatch.setattr(runtime, "llvm_installed", lambda: True)
    monkeypatch.setattr("flareseg.inference.llvm.network.CompiledNetwork", fails)
    plan = small_plan()
    assert "LLVM" not in open_on_cpu(plan, weights_of(plan), Options(threads=1)).description
    with pytest.raises(DeviceError, match="LLVM does not run here"):
        open_on_cpu(plan, weights_of(plan), Options(threads=1, backend="llvm"))


def test_without_llvmlite_asking_for_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(runtime, "llvm_installed", lambda: False)
    plan = small_plan()
    with pytest.raises(DeviceError, match="run: pip install llvmlite"):
        open_on_cpu(plan, weights_of(plan), Options(threads=1, backend="llvm"))


def test_a_window_below_the_least_tiles_is_convolved_directly():
    assert PlanarWinograd.fits((3, 3, 3), (1, 1, 1), (LEAST_TILES, 4, 4))
    assert not PlanarWinograd.fits((3, 3, 3), (1, 1, 1), (LEAST_TILES - 1, 4, 4))
    assert not PlanarWinograd.fits((3, 3, 3), (1, 1, 2), (LEAST_TILES, 4, 4))
    assert not PlanarWinograd.fits((3, 3, 1), (1, 1, 1), (LEAST_TILES, 4, 4))
