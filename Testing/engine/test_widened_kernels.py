"""Kernels that were widened with zeros to fit into another program's network cost no more, and give the same."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))

from small_networks import skip_without, small_plan

from flareseg.inference.runtime import TorchNetwork, open_on_cpu
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.layers import without_zeros
from flareseg.model.networks.registry import build_network, own_weights
from flareseg.options import Options


def convolved(image: torch.Tensor, weight: np.ndarray, before, after, stride) -> torch.Tensor:
    sides = [amount for pair in reversed([*zip(before, after, strict=True)]) for amount in pair]
    return F.conv3d(F.pad(image, sides), torch.from_numpy(weight), stride=stride)


@pytest.mark.parametrize(
    ("taps", "stride", "kernel"),
    [
        ((slice(None), slice(1, 4), slice(1, 4)), (1, 1, 1), (3, 3, 3)),
        ((slice(1, 2), slice(1, 4), slice(1, 4)), (1, 1, 1), (1, 3, 3)),
        ((slice(None), slice(2, 5), slice(2, 5)), (2, 2, 2), (3, 3, 3)),
        ((slice(None), slice(2, 5), slice(1, 4)), (1, 1, 1), (3, 5, 3)),
        ((slice(0, 1), slice(0, 2), slice(4, 5)), (1, 2, 2), (3, 3, 3)),
        ((slice(None), slice(None), slice(None)), (1, 2, 1), (3, 5, 5)),
        ((slice(0, 0), slice(0, 0), slice(0, 0)), (1, 1, 2), (1, 1, 1)),
    ],
)
def test_zeros_around_a_kernel_are_left_out_and_the_result_is_the_same(taps, stride, kernel):
    generator = torch.Generator().manual_seed(1)
    weight, padding = np.zeros((4, 2, 3, 5, 5), np.float32), (1, 2, 2)
    weight[(..., *taps)] = torch.randn(weight[(..., *taps)].shape, generator=generator).numpy()
    image = torch.randn(1, 2, 8, 12, 10, generator=generator)
    trimmed, before, after = without_zeros(weight, padding, stride)
    expected = convolved(image, weight, padding, padding, stride)
    result = convolved(image, trimmed, before, after, stride)
    assert trimmed.shape == (4, 2, *kernel) and result.shape == expected.shape
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("backend", ["llvm", "openvino"])
def test_a_network_with_widened_kernels_is_the_torch_network(backend):
    skip_without(backend)
    plan = replace(small_plan(), network=dynunet_spec([4, 8, 8], [3, [3, 5, 5], [3, 5, 5]], [1, 2, [1, 2, 2]]))
    torch.manual_seed(3)
    weights = own_weights(build_network(plan).state_dict())
    for name, value in weights.items():
        if value.shape[3:] == (5, 5):
            first = 2 if "downsamples" in name and "conv1" in name else 1
            kept = torch.zeros_like(value)
            kept[..., first : first + 3, first : first + 3] = 1
            weights[name] = value * kept
    window = torch.randn(1, 1, 12, 24, 24)
    expected = TorchNetwork(plan, weights, torch.device("cpu"), exact=True)(window)
    network = open_on_cpu(plan, weights, Options(threads=1, backend=backend))
    tolerance = 0.05 if "bf16" in network.description else 1e-3
    assert (network(window) - expected).abs().max() < tolerance * expected.abs().max()
