"""The layers of a `UNet`, from its specification, which is checked. Their names:

    stem                      convolution, before the stages of a residual encoder
    encoder.S.N               stage S, full resolution first: convolution N, or block N of a residual encoder,
    encoder.S.N.first, .second, .skip     whose convolutions have these names (.skip only where channels change)
    ups.K                     transposed convolution, deepest first
    decoder.K.N               convolution N after it
    head                      1×1×1 convolution to the classes

Every convolution but the head and the transposed ones is followed by an instance norm and has no bias, which the norm
would take away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flareseg.errors import ModelError
from flareseg.model.networks.spec import NetworkSpec, Sizes, checked_stages, is_count

HEAD = "head"
MOST_BLOCKS = 32
"""A stage: ResEnc-XL has up to 12."""
ARGUMENTS = {"filters", "kernel_size", "strides", "residual", "blocks", "decoder_convolutions"}


@dataclass(frozen=True)
class Convolution:
    """One convolution with its norm: `name`.conv.weight, `name`.norm.weight and .bias."""

    name: str
    channels_in: int
    channels: int
    kernel: Sizes
    stride: Sizes


@dataclass(frozen=True)
class Block:
    """One residual block: two convolutions, the second without a non-linearity, added to what came in, which is
    averaged over `stride` and projected to the new number of channels where these change."""

    first: Convolution
    second: Convolution
    skip: Convolution | None
    stride: Sizes

    def convolutions(self) -> Iterator[Convolution]:
        yield self.first
        yield self.second
        if self.skip:
            yield self.skip


@dataclass(frozen=True)
class Up:
    """One step of the decoder: `name`.weight and .bias of a transposed convolution as large as its stride, then the
    skip connection put on top, then convolutions."""

    name: str
    channels_in: int
    channels: int
    stride: Sizes
    convolutions: tuple[Convolution, ...]


@dataclass(frozen=True)
class UNetLayers:
    """Every layer of a network, in the order of computation.

    Attributes:
        stem: of a residual encoder, else None.
        encoder: per stage, its convolutions or blocks.
        ups: deepest first.
        filters: channels of the head's input.
    """

    stem: Convolution | None
    encoder: tuple[tuple[Convolution | Block, ...], ...]
    ups: tuple[Up, ...]
    filters: int


def unet_layers(spec: NetworkSpec) -> UNetLayers:
    """The layers of a network with one input channel.

    Raises:
        ModelError: when the specification makes no sense.
    """
    kwargs = spec.kwargs
    if set(kwargs) - {"stem_filters"} != ARGUMENTS or not isinstance(kwargs["residual"], bool):
        raise ModelError(f"The model's network has the arguments {sorted(kwargs)}, expected {sorted(ARGUMENTS)}.")
    filters, kernels, strides = checked_stages(spec)
    last = len(filters) - 1
    blocks = _counts(kwargs["blocks"], last + 1, "blocks")
    after = _counts(kwargs["decoder_convolutions"], last, "convolutions in its decoder")
    residual, stem, channels = kwargs["residual"], None, 1
    if residual:
        wide = kwargs.get("stem_filters", filters[0])
        if not is_count(wide, max(filters)):
            raise ModelError(f"The model's network has a stem of {wide} channels; 1 to {max(filters)} are possible.")
        stem, channels = Convolution("stem", 1, wide, kernels[0], (1, 1, 1)), wide
    encoder: list[Any] = []
    for stage, (width, kernel, count) in enumerate(zip(filters, kernels, blocks, strict=True)):
        layers: list[Any] = []
        for number in range(count):
            name = f"encoder.{stage}.{number}"
            stride: Sizes = (1, 1, 1) if number else strides[stage]
            make = _block if residual else Convolution
            layers.append(make(name, channels, width, kernel, stride))
            channels = width
        encoder.append(tuple(layers))
    ups = []
    for up, stage in enumerate(range(last, 0, -1)):
        below, width, kernel = filters[stage], filters[stage - 1], kernels[stage - 1]
        convolutions = tuple(
            Convolution(f"decoder.{up}.{number}", width if number else 2 * width, width, kernel, (1, 1, 1))
            for number in range(after[up])
        )
        ups.append(Up(f"ups.{up}", below, width, strides[stage], convolutions))
    return UNetLayers(stem, tuple(encoder), tuple(ups), filters[0])


def convolutions_of(layers: UNetLayers) -> Iterator[Convolution]:
    """Every convolution that a norm follows."""
    if layers.stem:
        yield layers.stem
    for stage in layers.encoder:
        for layer in stage:
            if isinstance(layer, Block):
                yield from layer.convolutions()
            else:
                yield layer
    for up in layers.ups:
        yield from up.convolutions


def _block(name: str, channels_in: int, channels: int, kernel: Sizes, stride: Sizes) -> Block:
    one: Sizes = (1, 1, 1)
    return Block(
        first=Convolution(f"{name}.first", channels_in, channels, kernel, stride),
        second=Convolution(f"{name}.second", channels, channels, kernel, one),
        skip=Convolution(f"{name}.skip", channels_in, channels, one, one) if channels_in != channels else None,
        stride=stride,
    )


def _counts(values: Any, length: int, what: str) -> list[int]:
    if not isinstance(values, list) or len(values) != length or not all(is_count(v, MOST_BLOCKS) for v in values):
        raise ModelError(f"The model's network needs {length} numbers of {what}, each 1 to {MOST_BLOCKS}.")
    return values
