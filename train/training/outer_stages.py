"""The outer stages of a deeper U-Net, for one with fewer stages to begin with."""

from __future__ import annotations

import re

import torch

_STAGE = re.compile(r"^(downsamples|upsamples)\.(\d+)\.(.*)$")


def outer_stages(weights: dict[str, torch.Tensor], wanted: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """A net's weights under the names that a shallower net has for the same stages.

    DynUNet counts the encoder's stages from the full resolution down and the decoder's from the bottom up, and calls
    the encoder's last one the bottleneck. So what stays of the decoder is renumbered, and the encoder's stage at which
    the shallower net ends becomes its bottleneck.

    Args:
        weights: of the deeper net, named as MONAI's DynUNet names them.
        wanted: shapes of the shallower net's tensors.

    Returns:
        those of the stages that both nets have; `weights` themselves where the net is not the deeper one.
    """
    deep, shallow = _inner_stages(weights), _inner_stages(wanted)
    if deep <= shallow:
        return weights
    result = {}
    for name, value in weights.items():
        match = _STAGE.match(name)
        if match is None:
            new = name if not name.startswith("bottleneck.") else ""
        elif match[1] == "upsamples":
            number = int(match[2]) - (deep - shallow)
            new = f"upsamples.{number}.{match[3]}" if number >= 0 else ""
        elif int(match[2]) == shallow:
            new = f"bottleneck.{match[3]}"
        else:
            new = name if int(match[2]) < shallow else ""
        if new:
            result[new] = value
    return result


def _inner_stages(names: dict[str, torch.Tensor] | dict[str, torch.Size]) -> int:
    """How many stages lie between the first and the bottleneck; -1 of what is no such net."""
    found = [int(match[2]) for name in names if (match := _STAGE.match(name)) and match[1] == "downsamples"]
    return max(found, default=-1) + 1
