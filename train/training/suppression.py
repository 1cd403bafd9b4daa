"""Structures that a network never outputs because it learnt them too badly: their output is closed by its bias.

A fit that begins with such a network opens the output first. With a bias of -1000 each voxel of the structure would
cost a thousand times what others cost, and no step of a usual length could mend it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from flareseg.model.networks.registry import architecture_of
from flareseg.model.structures import SILENCED_BELOW
from train.net_config import NetConfig

NEVER = 1000.0
"""Subtracted from the logits of suppressed structures; representable in half precision."""


def suppress(weights: dict[str, torch.Tensor], net: NetConfig, names: Sequence[str]) -> None:
    """Close the outputs of these structures; modifies `weights`."""
    lower(weights, net, names, NEVER)


def lower(weights: dict[str, torch.Tensor], net: NetConfig, names: Sequence[str], by: float) -> None:
    """Lower the logits of these structures everywhere, by their output bias; modifies `weights`."""
    output = _bias_of(net)
    bias = weights[output].clone()
    bias[[channel for channel, name in enumerate(net.names) if name in names]] -= by
    weights[output] = bias


def opened(weights: dict[str, torch.Tensor], net: NetConfig) -> dict[str, torch.Tensor]:
    """The weights with all outputs open: a closed one gets the mean bias of the other structures."""
    output = _bias_of(net)
    if output not in weights:
        return weights
    bias = weights[output].clone()
    closed = bias < SILENCED_BELOW
    if not closed.any() or closed[1:].all():
        return weights
    bias[closed] = bias[1:][~closed[1:]].float().mean().to(bias.dtype)
    return weights | {output: bias}


def _bias_of(net: NetConfig) -> str:
    return f"{architecture_of(net.network()).head}.bias"
