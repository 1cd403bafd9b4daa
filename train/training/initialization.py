"""A network to be trained, with random weights."""

from __future__ import annotations

from torch import nn

from flareseg.model.networks.registry import build_network
from flareseg.model.networks.spec import SLOPE
from flareseg.model.networks.unet_torch import ResidualBlock, UNet
from flareseg.model.plan import Plan


def new_network(plan: Plan, deep_supervision_heads: int = 0, outputs: int | None = None) -> nn.Module:
    """Build the network of a plan with the initialisation of nnU-Net: He et al. for leaky ReLUs, no bias, and the last
    norm of every residual block at 0, so that a block begins as the identity.

    MONAI initialises its own networks so.
    """
    network = build_network(plan, deep_supervision_heads, outputs)
    if isinstance(network, UNet):
        for module in network.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, ResidualBlock):
                nn.init.zeros_(module.second.norm.weight)
    return network
