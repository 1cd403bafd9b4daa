"""MONAI's DynUNet, with the settings with which it is nnU-Net's plain U-Net of two convolutions a stage.

The names of its layers:

    input_block, downsamples.N, bottleneck     blocks of the encoder, full resolution first
    upsamples.N.transp_conv.conv               transposed convolution, deepest first
    upsamples.N.conv_block                     the block after it
    output_block.conv.conv                     1×1×1 convolution to the classes

A block has the convolutions conv1.conv and conv2.conv, without biases, and the instance norms norm1 and norm2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flareseg.errors import ModelError
from flareseg.model.networks.architecture import Architecture
from flareseg.model.networks.layers import Layers, X
from flareseg.model.networks.spec import EPSILON, SLOPE, NetworkSpec, Sizes, checked_kernels, checked_stages
from flareseg.system.private_imports import import_monai

if TYPE_CHECKING:
    import torch
    from torch import nn


NAME = "DynUNet"
ARGUMENTS = {"filters", "kernel_size", "strides"}
NORM = ("INSTANCE", {"affine": True, "eps": EPSILON})
ACTIVATION = ("leakyrelu", {"inplace": True, "negative_slope": SLOPE})
HEAD = "output_block.conv.conv"
NNUNET, MONAI = 0, 1
"""From how many stages below its own a block of the decoder takes the size of its kernels, there and there."""


@dataclass(frozen=True)
class Block:
    """Two convolutions, each with its norm and a leaky ReLU; the first has the stride."""

    name: str
    channels_in: int
    channels: int
    kernel: Sizes
    stride: Sizes = (1, 1, 1)

    @property
    def layers(self) -> list[tuple[str, str]]:
        """The names of each convolution and of its norm."""
        return [(f"{self.name}.conv{number}.conv", f"{self.name}.norm{number}") for number in (1, 2)]


@dataclass(frozen=True)
class Step:
    """A step of the decoder: a transposed convolution as large as its stride, then the skip connection put on top,
    then a block.

    Attributes:
        name: of the transposed convolution.
    """

    name: str
    channels_in: int
    channels: int
    stride: Sizes
    block: Block


@dataclass(frozen=True)
class DynUNetLayers:
    """Every layer but the head.

    Attributes:
        encoder: full resolution first.
        decoder: deepest first.
    """

    encoder: tuple[Block, ...]
    decoder: tuple[Step, ...]

    @property
    def filters(self) -> list[int]:
        """Channels per stage."""
        return [block.channels for block in self.encoder]

    @property
    def strides(self) -> list[Sizes]:
        """Per stage."""
        return [block.stride for block in self.encoder]

    @property
    def decoder_blocks(self) -> list[Block]:
        """Full resolution first; the deepest stage has none."""
        return [step.block for step in reversed(self.decoder)]


class DynUNetArchitecture(Architecture):
    """MONAI is needed to build it, not to run it in OpenVINO."""

    name = NAME
    head = HEAD
    repeated = ("skip_layers.",)
    training_only = ("deep_supervision_heads.",)

    def shapes(self, spec: NetworkSpec, outputs: int) -> dict[str, tuple[int, ...]]:
        """Loading MONAI takes seconds, which a start in OpenVINO does not need to spend."""
        layers = dynunet_layers(spec)
        shapes: dict[str, tuple[int, ...]] = {}
        for block in (*layers.encoder, *(step.block for step in layers.decoder)):
            channels_in = block.channels_in
            for convolution, norm in block.layers:
                shapes[f"{convolution}.weight"] = (block.channels, channels_in, *block.kernel)
                shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (block.channels,)
                channels_in = block.channels
        for step in layers.decoder:
            shapes[f"{step.name}.weight"] = (step.channels_in, step.channels, *step.stride)
            shapes[f"{step.name}.bias"] = (step.channels,)
        shapes[f"{HEAD}.weight"] = (outputs, layers.filters[0], 1, 1, 1)
        shapes[f"{HEAD}.bias"] = (outputs,)
        return shapes

    def build(self, spec: NetworkSpec, outputs: int, deep_supervision_heads: int = 0) -> nn.Module:
        layers = dynunet_layers(spec)
        import_monai()
        from monai.networks.nets.dynunet import DynUNet

        arguments = monai_arguments(layers, [block.kernel for block in layers.encoder], outputs)
        heads = {"deep_supervision": deep_supervision_heads > 0, "deep_supr_num": max(deep_supervision_heads, 1)}
        try:
            network: nn.Module = DynUNet(**arguments, **heads)
            _replace_decoder_blocks(network, layers)
        except (TypeError, ValueError, AssertionError) as error:
            raise ModelError(f"The model's network cannot be built: {error}") from None
        return network

    def training_outputs(self, network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
        """MONAI's own forward pass would resize all outputs to full resolution, which costs time and memory."""
        net: Any = network
        if not net.deep_supervision:
            return [net(image)]
        finest = net.output_block(net.skip_layers(image))
        return [finest, *net.heads[: net.deep_supr_num]]

    def computed(self, spec: NetworkSpec, layers: Layers[X], window: X) -> X:
        net = dynunet_layers(spec)

        def run(x: X, block: Block) -> X:
            stride = block.stride
            for convolution, norm in block.layers:
                x = layers.active(layers.normalised(layers.convolution(x, convolution, stride, monai=True), norm))
                stride = (1, 1, 1)
            return x

        x, skips = window, []
        for block in net.encoder:
            x = run(x, block)
            skips.append(x)
        for step, skip in zip(net.decoder, reversed(skips[:-1]), strict=True):
            x = run(layers.joined(layers.transposed(x, step.name, step.stride), skip), step.block)
        return layers.plus(layers.convolution(x, HEAD, (1, 1, 1), monai=True), f"{HEAD}.bias")

    def nnunet_names(self, spec: NetworkSpec) -> Iterator[tuple[str, str]]:
        """Those of PlainConvUNet, which has its output layers in a list, the one at full resolution last."""
        layers = dynunet_layers(spec)
        for stage, block in enumerate(layers.encoder):
            yield from _names_of_block(f"encoder.stages.{stage}.0", block)
        for up, step in enumerate(layers.decoder):
            yield from _names_of_block(f"decoder.stages.{up}", step.block)
            for kind in ("weight", "bias"):
                yield f"decoder.transpconvs.{up}.{kind}", f"{step.name}.{kind}"
        for kind in ("weight", "bias"):
            yield f"decoder.seg_layers.{len(layers.decoder) - 1}.{kind}", f"{HEAD}.{kind}"

    def model_format(self, spec: NetworkSpec) -> int:
        return 2 if "up_kernel_size" in spec.kwargs else 1


def dynunet_spec(
    filters: list[int], kernels: list[int | list[int]] | None = None, strides: list[int | list[int]] | None = None
) -> NetworkSpec:
    """The specification of a U-Net with one stage per entry of `filters`.

    Args:
        filters: channels per stage, full resolution first.
        kernels: kernel size per stage; 3 everywhere unless given.
        strides: stride per stage; 1, then 2 at every further stage, unless given.
    """
    stages = len(filters)
    return NetworkSpec(
        name=NAME,
        kwargs={
            "filters": list(filters),
            "kernel_size": kernels or [3] * stages,
            "strides": strides or [1] + [2] * (stages - 1),
        },
    )


def spec_as_in_nnunet(filters: list[int], kernels: list[list[int]], strides: list[list[int]]) -> NetworkSpec:
    """The specification of nnU-Net's network of these sizes.

    nnU-Net gives the blocks of its decoder the kernels of the stage whose skip connection comes in, DynUNet those of
    the stage below: "up_kernel_size" says so where the two differ, for each step of the decoder, deepest first.
    """
    spec = dynunet_spec(filters, list(kernels), list(strides))
    own, wanted = kernels[:0:-1], kernels[-2::-1]
    if own != wanted:
        spec.kwargs["up_kernel_size"] = wanted
    return spec


def pads_as_nnunet(strides: Iterable[Sequence[int]]) -> bool:
    """Whether MONAI and nnU-Net pad convolutions with these strides in the same way."""
    return all(size <= 2 for stride in strides for size in stride)


def dynunet_layers(spec: NetworkSpec) -> DynUNetLayers:
    """The layers of a network with one input channel.

    Raises:
        ModelError: when the specification makes no sense.
    """
    if set(spec.kwargs) - {"up_kernel_size"} != ARGUMENTS:
        raise ModelError(
            f"The model's network has the arguments {sorted(spec.kwargs)}, expected filters, kernel_size, strides."
        )
    filters, kernels, strides = checked_stages(spec)
    ups = kernels[:0:-1]
    if "up_kernel_size" in spec.kwargs:
        given = spec.kwargs["up_kernel_size"]
        if not isinstance(given, list) or len(given) != len(ups):
            raise ModelError(f"The model's network needs {len(ups)} kernel sizes for its decoder.")
        ups = checked_kernels(given)
    stages = zip(encoder_names(len(filters)), [1, *filters], filters, kernels, strides, strict=False)
    encoder = tuple(Block(*stage) for stage in stages)
    decoder = []
    for up, name in enumerate(decoder_names(len(filters))):
        below = encoder[-1 - up]
        channels = encoder[-2 - up].channels
        block = Block(f"{name}.conv_block", 2 * channels, channels, ups[up])
        decoder.append(Step(f"{name}.transp_conv.conv", below.channels, channels, below.stride, block))
    return DynUNetLayers(encoder, tuple(decoder))


def encoder_names(stages: int) -> list[str]:
    """Of the encoder's blocks, full resolution first."""
    return ["input_block", *(f"downsamples.{number}" for number in range(stages - 2)), "bottleneck"]


def decoder_names(stages: int) -> list[str]:
    """Of the decoder's steps, deepest first."""
    return [f"upsamples.{number}" for number in range(stages - 1)]


def stages_of(names: Iterable[str]) -> int:
    """How many stages the DynUNet has whose tensors have these names; 0 where it is none."""
    steps = {name.split(".")[1] for name in names if name.startswith("upsamples.")}
    return len(steps) + 1 if steps else 0


def is_transposed(name: str) -> bool:
    """Whether a tensor belongs to a transposed convolution, whose weights have the input channels first."""
    return ".transp_conv." in name


def reads_skip_connection(name: str) -> bool:
    """Whether a tensor is read by channels from below and, after them, as many from a skip connection."""
    return name.endswith(".conv_block.conv1.conv.weight")


def shared_kernels(layers: DynUNetLayers, below: int) -> list[Sizes]:
    """The kernel sizes, per stage of the encoder, of the smallest net that can hold this one's weights.

    Where kernels differ between stages, nnU-Net and MONAI cannot hold each other's weights as they are. A convolution
    stays the same when its kernel is widened with zeros.

    Args:
        below: `NNUNET` or `MONAI`, which that net is for.
    """
    result = []
    for stage, block in enumerate(layers.encoder):
        level = stage - below
        others = [layers.decoder_blocks[level]] if 0 <= level < len(layers.decoder) else []
        z, y, x = (max(sizes) for sizes in zip(block.kernel, *(other.kernel for other in others), strict=True))
        result.append((z, y, x))
    return result


def kernel_of_weights(layers: DynUNetLayers, below: int) -> dict[str, Sizes]:
    """The kernel size of every weight in that net, by our name of the weight; see `shared_kernels`."""
    kernels = shared_kernels(layers, below)
    pairs = [*zip(layers.encoder, kernels, strict=True), *zip(layers.decoder_blocks, kernels[below:], strict=False)]
    return {f"{convolution}.weight": kernel for block, kernel in pairs for convolution, _ in block.layers}


def monai_arguments(layers: DynUNetLayers, kernels: list[Sizes], outputs: int) -> dict[str, Any]:
    """What MONAI's class is called with; `kernels` are those of the encoder."""
    return {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": outputs,
        "kernel_size": kernels,
        "strides": layers.strides,
        "upsample_kernel_size": layers.strides[1:],
        "filters": layers.filters,
        "norm_name": NORM,
        "act_name": ACTIVATION,
        "trans_bias": True,
    }


def _replace_decoder_blocks(network: nn.Module, layers: DynUNetLayers) -> None:
    """Give the decoder's blocks their kernels; DynUNet itself takes those of the stage below."""
    from monai.networks.blocks.dynunet_block import UnetBasicBlock
    from monai.networks.nets.dynunet import DynUNet

    own = [block.kernel for block in layers.encoder[:0:-1]]
    for built, step, kernel in zip(network.upsamples, layers.decoder, own, strict=True):  # type: ignore[arg-type]
        wanted = step.block
        if wanted.kernel != kernel:
            new = UnetBasicBlock(3, wanted.channels_in, wanted.channels, wanted.kernel, 1, NORM, ACTIVATION)
            built.conv_block = new.apply(DynUNet.initialize_weights)


def _names_of_block(theirs: str, block: Block) -> Iterator[tuple[str, str]]:
    for number, (convolution, norm) in enumerate(block.layers):
        yield f"{theirs}.convs.{number}.conv.weight", f"{convolution}.weight"
        for kind in ("weight", "bias"):
            yield f"{theirs}.convs.{number}.norm.{kind}", f"{norm}.{kind}"
