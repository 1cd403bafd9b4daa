"""What a network costs: parameters, multiplications for one patch, and values in its feature maps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from flareseg.model.networks.registry import build_network, parameter_shapes
from flareseg.model.plan import Plan


def parameters(plan: Plan) -> int:
    """Weights of the network of a plan, without deep supervision heads."""
    return sum(math.prod(shape) for shape in parameter_shapes(plan).values())


def multiply_adds(plan: Plan) -> int:
    """Multiplications and additions of its convolutions for one patch; what papers call MACs, and some FLOPs."""
    total = 0
    for layer, values_in, values_out in _convolutions(plan):
        # a transposed convolution as large as its stride reads every voxel of its input once for each of its weights
        voxels = values_in // layer.in_channels if _is_transposed(layer) else values_out // layer.out_channels
        total += voxels * layer.weight.numel()
    return total


def feature_map_values(plan: Plan) -> int:
    """Values that its convolutions give for one patch, which stand for the memory that training needs; where a block
    adds a projection of its input, nnU-Net's planners count that as well."""
    return sum(values_out for _, _, values_out in _convolutions(plan))


def _convolutions(plan: Plan) -> list[tuple[Any, int, int]]:
    """The convolutions of a forward pass, with the values that each is given and gives.

    It runs on torch's meta device: nothing is computed.
    """
    found: list[tuple[Any, int, int]] = []

    def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        found.append((layer, inputs[0].numel(), output.numel()))

    with torch.device("meta"), torch.no_grad():
        network = build_network(plan).eval()
        for layer in network.modules():
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
                layer.register_forward_hook(note)
        network(torch.zeros(1, 1, *plan.patch_zyx))
    return found


def _is_transposed(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ConvTranspose3d)
