"""Initial weights from a net of another size: the outer stages of a deeper one, or a narrower one widened.

Source of the widening: Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016,
section 2.3 (Net2WiderNet): an added channel repeats one that is there, and what reads both divides its weight between
them. Here each reader divides it by a share of its own, drawn at random, so that the two learn to differ under Adam
too, which would follow equal gradients of different lengths with equal steps.
"""

from __future__ import annotations

import re

import torch

_STAGE = re.compile(r"^(downsamples|upsamples)\.(\d+)\.(.*)$")
HEAD = "output_block."


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


def widened(
    weights: dict[str, torch.Tensor], wanted: dict[str, torch.Size], generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """A U-Net's weights in the shapes of a net with more channels, as far as it can begin with them.

    Args:
        weights: of the narrower net, named as MONAI's DynUNet names them.
        wanted: shapes of the wider net's tensors.
        generator: draws the shares.

    Returns:
        every tensor of both nets; without the output layer where the two do not have equally many structures.
    """
    result = {}
    for name, old in weights.items():
        if name not in wanted or (name.startswith(HEAD) and old.shape[0] != wanted[name][0]):
            continue
        out_axis, in_axis = (1, 0) if ".transp_conv." in name and old.ndim > 1 else (0, 1)
        new = old.index_select(out_axis, _repeats(old.shape[out_axis], wanted[name][out_axis]))
        if old.ndim > 1:
            # A decoder's first convolution reads two sets of channels, one after the other: from below, and skipped.
            sets = 2 if name.endswith(".conv_block.conv1.conv.weight") else 1
            new = _read_wider(new, in_axis, wanted[name][in_axis], sets, generator)
        result[name] = new
    return result


def is_narrower(weights: dict[str, torch.Tensor], wanted: dict[str, torch.Size]) -> bool:
    """Whether weights are those of a net with the same layers, some with fewer channels and none with more."""
    layers = {name: shape for name, shape in wanted.items() if not name.startswith(HEAD)}
    if not layers.keys() <= weights.keys():
        return False
    pairs = [(weights[name].shape, shape) for name, shape in layers.items()]
    fits = all(a[2:] == b[2:] and all(x <= y for x, y in zip(a, b, strict=True)) for a, b in pairs)
    return fits and any(a != b for a, b in pairs)


def _repeats(count: int, wanted: int) -> torch.Tensor:
    """Which channel each of `wanted` ones repeats."""
    return torch.arange(wanted) % count


def _read_wider(weight: torch.Tensor, axis: int, wanted: int, sets: int, generator: torch.Generator) -> torch.Tensor:
    """The weight of a layer whose input is widened, set by set, so that it answers as before."""
    parts = []
    for part in weight.movedim(axis, 0).chunk(sets):
        source = _repeats(len(part), wanted // sets)
        shares = 1 - torch.rand((len(source), *part.shape[1:]), generator=generator).to(part)  # never 0
        total = torch.zeros_like(part).index_add_(0, source, shares)
        parts.append(part[source] * (shares / total[source]))
    return torch.cat(parts).movedim(0, axis).contiguous()
