"""The U-Nets that DynUNet is not: nnU-Net's residual encoders, and any number of convolutions a stage.

`unet_layers.py` lists their layers, `unet_torch.py` has the torch module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flareseg.errors import ModelError
from flareseg.model.networks.architecture import Architecture
from flareseg.model.networks.layers import Layers, X
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.networks.unet_layers import HEAD, Block, Convolution, convolutions_of, unet_layers

if TYPE_CHECKING:
    import torch
    from torch import nn


NAME = "UNet"


class UNetArchitecture(Architecture):
    """All of them can be run and trained."""

    name = NAME
    head = HEAD
    training_only = ("deep_heads.",)

    def shapes(self, spec: NetworkSpec, outputs: int) -> dict[str, tuple[int, ...]]:
        layers = unet_layers(spec)
        shapes: dict[str, tuple[int, ...]] = {}
        for of in convolutions_of(layers):
            shapes[f"{of.name}.conv.weight"] = (of.channels, of.channels_in, *of.kernel)
            shapes[f"{of.name}.norm.weight"] = (of.channels,)
            shapes[f"{of.name}.norm.bias"] = (of.channels,)
        for up in layers.ups:
            shapes[f"{up.name}.weight"] = (up.channels_in, up.channels, *up.stride)
            shapes[f"{up.name}.bias"] = (up.channels,)
        shapes[f"{HEAD}.weight"] = (outputs, layers.filters, 1, 1, 1)
        shapes[f"{HEAD}.bias"] = (outputs,)
        return shapes

    def build(self, spec: NetworkSpec, outputs: int, deep_supervision_heads: int = 0) -> nn.Module:
        from flareseg.model.networks.unet_torch import UNet

        layers = unet_layers(spec)
        if deep_supervision_heads >= len(layers.ups):
            raise ModelError(f"The model's network has {len(layers.ups) - 1} deep outputs at most.")
        return UNet(layers, outputs, deep_supervision_heads)

    def training_outputs(self, network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
        net: Any = network
        outputs: list[torch.Tensor] = net.all_outputs(image)
        return outputs

    def computed(self, spec: NetworkSpec, layers: Layers[X], window: X) -> X:
        net = unet_layers(spec)

        def normalised(x: X, of: Convolution) -> X:
            x = layers.convolution(x, f"{of.name}.conv", of.stride, monai=False)
            return layers.normalised(x, f"{of.name}.norm")

        def run(x: X, block: Block) -> X:
            beside = layers.averaged(x, block.stride) if max(block.stride) > 1 else x
            if block.skip:
                beside = normalised(beside, block.skip)
            x = normalised(layers.active(normalised(x, block.first)), block.second)
            return layers.active(layers.added(x, beside))

        x, skips = window, []
        if net.stem:
            x = layers.active(normalised(x, net.stem))
        for stage in net.encoder:
            for layer in stage:
                x = run(x, layer) if isinstance(layer, Block) else layers.active(normalised(x, layer))
            skips.append(x)
        for up, skip in zip(net.ups, reversed(skips[:-1]), strict=True):
            x = layers.joined(layers.transposed(x, up.name, up.stride), skip)
            for convolution in up.convolutions:
                x = layers.active(normalised(x, convolution))
        return layers.plus(layers.convolution(x, HEAD, (1, 1, 1), monai=False), f"{HEAD}.bias")

    def nnunet_names(self, spec: NetworkSpec) -> Iterator[tuple[str, str]]:
        """Those of ResidualEncoderUNet, or of PlainConvUNet without residual blocks."""
        layers = unet_layers(spec)
        if layers.stem:
            yield from _names_of("encoder.stem.convs.0", layers.stem)
        for number, stage in enumerate(layers.encoder):
            for place, layer in enumerate(stage):
                if not isinstance(layer, Block):
                    yield from _names_of(f"encoder.stages.{number}.0.convs.{place}", layer)
                    continue
                theirs = f"encoder.stages.{number}.blocks.{place}"
                yield from _names_of(f"{theirs}.conv1", layer.first)
                yield from _names_of(f"{theirs}.conv2", layer.second)
                if layer.skip:
                    # The average over a stride comes first where there is one.
                    yield from _names_of(f"{theirs}.skip.{int(max(layer.stride) > 1)}", layer.skip)
        for number, up in enumerate(layers.ups):
            for kind in ("weight", "bias"):
                yield f"decoder.transpconvs.{number}.{kind}", f"{up.name}.{kind}"
            for place, convolution in enumerate(up.convolutions):
                yield from _names_of(f"decoder.stages.{number}.convs.{place}", convolution)
        for kind in ("weight", "bias"):
            yield f"decoder.seg_layers.{len(layers.ups) - 1}.{kind}", f"{HEAD}.{kind}"


def unet_spec(
    filters: list[int],
    kernels: list[Any],
    strides: list[Any],
    *,
    residual: bool,
    blocks: list[int],
    decoder_convolutions: list[int],
    stem_filters: int | None = None,
) -> NetworkSpec:
    """The specification of a network.

    Args:
        filters, kernels, strides: per stage, full resolution first.
        residual: blocks with skip connections in the encoder, after a stem; else plain convolutions.
        blocks: of each stage of the encoder, how many.
        decoder_convolutions: of each step of the decoder, deepest first, how many.
        stem_filters: channels of the stem; those of the first stage unless given.
    """
    kwargs: dict[str, Any] = {
        "filters": list(filters),
        "kernel_size": list(kernels),
        "strides": list(strides),
        "residual": residual,
        "blocks": list(blocks),
        "decoder_convolutions": list(decoder_convolutions),
    }
    if residual and stem_filters is not None and stem_filters != filters[0]:
        kwargs["stem_filters"] = stem_filters
    return NetworkSpec(NAME, kwargs)


def _names_of(theirs: str, of: Convolution) -> Iterator[tuple[str, str]]:
    yield f"{theirs}.conv.weight", f"{of.name}.conv.weight"
    for kind in ("weight", "bias"):
        yield f"{theirs}.norm.{kind}", f"{of.name}.norm.{kind}"
