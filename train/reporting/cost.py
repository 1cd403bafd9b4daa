"""What a network costs: parameters, and multiplications for one patch."""

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
    """Multiplications and additions of its convolutions for one patch; what papers call MACs, and some FLOPs.

    Counted on torch's meta device: nothing is computed.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        of: Any = layer
        # a transposed convolution as large as its stride reads every voxel of its input once for each of its weights
        one, channels = (inputs[0], of.in_channels) if isinstance(of, nn.ConvTranspose3d) else (output, of.out_channels)
        total += one.numel() // channels * of.weight.numel()

    with torch.device("meta"), torch.no_grad():
        network = build_network(plan).eval()
        for layer in network.modules():
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
                layer.register_forward_hook(count)
        network(torch.zeros(1, 1, *plan.patch_zyx))
    return total
