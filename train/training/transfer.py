"""Initial weights from a network of another size: the outer stages of a deeper one, or a widened narrower one.

Widening follows Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016,
section 2.3 (Net2WiderNet): an added channel duplicates an existing one, and the next layer splits its weight between
the two. Here the split is random per weight instead of even, to break the symmetry under Adam as well, whose steps do
not depend on the scale of the gradient.
"""

from __future__ import annotations

import torch

from flareseg.model.networks.dynunet import (
    HEAD,
    decoder_names,
    encoder_names,
    is_transposed,
    reads_skip_connection,
    stages_of,
)


def outer_stages(weights: dict[str, torch.Tensor], wanted: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Weights of the outer stages of a deeper network, renamed for a shallower one.

    DynUNet numbers encoder stages from full resolution downwards and decoder stages from the bottom upwards, and calls
    the last encoder stage "bottleneck". The remaining decoder stages are therefore renumbered, and the encoder stage at
    which the shallower network ends becomes its bottleneck.

    Args:
        weights: of the deeper network, with the names of MONAI's DynUNet.
        wanted: shapes of the tensors of the shallower network.

    Returns:
        the weights of the common stages; `weights` unchanged if that network is not deeper.
    """
    deep, shallow = stages_of(weights), stages_of(wanted)
    if not deep > shallow > 0:
        return weights
    renamed = dict(zip(encoder_names(deep), encoder_names(shallow), strict=False))
    renamed |= dict(zip(decoder_names(deep)[deep - shallow :], decoder_names(shallow), strict=True))
    result = {}
    for name, value in weights.items():
        stage = next((one for one in (*encoder_names(deep), *decoder_names(deep)) if name.startswith(f"{one}.")), "")
        if stage in renamed:
            result[renamed[stage] + name.removeprefix(stage)] = value
        elif not stage:
            result[name] = value
    return result


def widened(
    weights: dict[str, torch.Tensor], wanted: dict[str, torch.Size], generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Widen the weights of a U-Net to the shapes of a network with more channels.

    Args:
        weights: of the narrower network, with the names of MONAI's DynUNet.
        wanted: shapes of the tensors of the wider network.
        generator: source of the random splits.

    Returns:
        all tensors that both networks have; without the output layer if the number of classes differs.
    """
    result = {}
    for name, old in weights.items():
        if name not in wanted or (name.startswith(HEAD) and old.shape[0] != wanted[name][0]):
            continue
        out_axis, in_axis = (1, 0) if is_transposed(name) and old.ndim > 1 else (0, 1)
        new = old.index_select(out_axis, _repeats(old.shape[out_axis], wanted[name][out_axis]))
        if old.ndim > 1:
            # The first convolution of a decoder stage has concatenated inputs: upsampled features and skip connection.
            sets = 2 if reads_skip_connection(name) else 1
            new = _read_wider(new, in_axis, wanted[name][in_axis], sets, generator)
        result[name] = new
    return result


def is_narrower(weights: dict[str, torch.Tensor], wanted: dict[str, torch.Size]) -> bool:
    """Whether the weights have the same layers, some with fewer channels and none with more."""
    layers = {name: shape for name, shape in wanted.items() if not name.startswith(HEAD)}
    if not stages_of(wanted):  # another kind of network, whose layers `widened` does not know
        return False
    if not layers.keys() <= weights.keys():
        return False
    pairs = [(weights[name].shape, shape) for name, shape in layers.items()]
    fits = all(a[2:] == b[2:] and all(x <= y for x, y in zip(a, b, strict=True)) for a, b in pairs)
    return fits and any(a != b for a, b in pairs)


def _repeats(count: int, wanted: int) -> torch.Tensor:
    """The source channel of each of `wanted` channels."""
    return torch.arange(wanted) % count


def _read_wider(weight: torch.Tensor, axis: int, wanted: int, sets: int, generator: torch.Generator) -> torch.Tensor:
    """The weight of a layer with a widened input, per concatenated input, such that its output is unchanged."""
    parts = []
    for part in weight.movedim(axis, 0).chunk(sets):
        source = _repeats(len(part), wanted // sets)
        shares = 1 - torch.rand((len(source), *part.shape[1:]), generator=generator).to(part)  # never 0
        total = torch.zeros_like(part).index_add_(0, source, shares)
        parts.append(part[source] * (shares / total[source]))
    return torch.cat(parts).movedim(0, axis).contiguous()
