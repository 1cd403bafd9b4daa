"""nnU-Net's tensors under our names: PlainConvUNet as DynUNet where that can be, else either network as our `UNet`.

Both networks of nnU-Net have biases before their instance norms, which the norms take away again: they are left out.
DynUNet gives the blocks of its decoder the kernels of the stage below, nnU-Net those of the stage whose skip connection
comes in: `nnunet_spec` says so where the two differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flareseg.errors import ModelError
from flareseg.model.networks.registry import dynunet_spec
from flareseg.model.networks.unet import Block, unet_layers, unet_spec
from flareseg.model.plan import NetworkSpec

if TYPE_CHECKING:
    import torch

_WRAPPED = re.compile(r"^(_orig_mod\.|module\.)+")
"""What torch puts before names when a network was compiled, or trained on several GPUs."""
_AGAIN = re.compile(r"^decoder\.encoder\.|\.all_modules\.")
"""nnU-Net's state dicts hold these tensors a second time."""


def nnunet_spec(
    filters: list[int],
    kernels: list[list[int]],
    strides: list[list[int]],
    *,
    residual: bool,
    blocks: list[int],
    decoder_convolutions: list[int],
    stem_filters: int | None = None,
) -> NetworkSpec:
    """How we build the network that nnU-Net builds from these arguments (see `unet_spec`)."""
    # MONAI pads convolutions with larger strides in another way than nnU-Net.
    small_strides = all(size <= 2 for stride in strides for size in stride)
    plain = not residual and set(blocks) == set(decoder_convolutions) == {2} and small_strides
    if not plain:
        return unet_spec(
            filters,
            kernels,
            strides,
            residual=residual,
            blocks=blocks,
            decoder_convolutions=decoder_convolutions,
            stem_filters=stem_filters,
        )
    spec = dynunet_spec(filters, list(kernels), list(strides))
    own, wanted = kernels[:0:-1], kernels[-2::-1]
    if own != wanted:
        spec.kwargs["up_kernel_size"] = wanted
    return spec


def own_tensors(
    state: dict[str, torch.Tensor], spec: NetworkSpec, shapes: dict[str, tuple[int, ...]]
) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors under the names of the network of `spec`, fp32.

    Args:
        state: `network_weights` of an nnU-Net checkpoint; heads of deep supervision but the last are left out.
        spec: from `nnunet_spec`.
        shapes: of every tensor of that network, by our names. A tensor of another is refused before it is copied, as
            one number of a file may stand for a tensor of any size.

    Raises:
        ModelError: naming the first tensor that is missing, surplus, of another shape, or no floating-point tensor.
    """
    import torch

    given = dict(_own_names(state))
    result: dict[str, torch.Tensor] = {}
    used: set[str] = set()

    def take(theirs: str, ours: str) -> None:
        if theirs not in given:
            raise ModelError(f"The checkpoint lacks '{theirs}', which its plans ask for; its network is another one.")
        value = given[theirs]
        plain = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not plain or not value.is_floating_point():
            raise ModelError(f"The checkpoint's '{theirs}' is no plain tensor of numbers.")
        if tuple(value.shape) != shapes[ours]:
            raise ModelError(
                f"The checkpoint's '{theirs}' has the shape {tuple(value.shape)}; its plans ask for {shapes[ours]}."
            )
        used.add(theirs)
        result[ours] = value.detach().float()

    for theirs, ours in _names(spec):
        weight = theirs.removesuffix("bias") + "weight"
        if theirs.startswith("decoder.transpconvs") and theirs not in given and weight in used:
            result[ours] = torch.zeros(shapes[ours])  # of a network without biases
        else:
            take(theirs, ours)
    for name in sorted(set(given) - used):
        cancelled = name.endswith(".conv.bias") and name.removesuffix("bias") + "weight" in used
        if not cancelled and not name.startswith("decoder.seg_layers."):
            raise ModelError(
                f"The checkpoint holds '{_shown(name)}', which its plans do not know; its network is another."
            )
    return result


def _own_names(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in state.items():
        name = _WRAPPED.sub("", str(name))
        if not _AGAIN.search(name):
            yield name, value


def _names(spec: NetworkSpec) -> Iterator[tuple[str, str]]:
    """nnU-Net's and our name of every tensor."""
    return _dynunet_names(spec) if spec.name == "DynUNet" else _unet_names(spec)


def _dynunet_names(spec: NetworkSpec) -> Iterator[tuple[str, str]]:
    last = len(spec.kwargs["filters"]) - 1
    for stage in range(last + 1):
        ours = {0: "input_block", last: "bottleneck"}.get(stage, f"downsamples.{stage - 1}")
        yield from _two_convolutions(f"encoder.stages.{stage}.0", ours)
    for up in range(last):
        yield from _two_convolutions(f"decoder.stages.{up}", f"upsamples.{up}.conv_block")
        for kind in ("weight", "bias"):
            yield f"decoder.transpconvs.{up}.{kind}", f"upsamples.{up}.transp_conv.conv.{kind}"
    for kind in ("weight", "bias"):
        yield f"decoder.seg_layers.{last - 1}.{kind}", f"output_block.conv.conv.{kind}"


def _two_convolutions(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for number in (1, 2):
        yield f"{theirs}.convs.{number - 1}.conv.weight", f"{ours}.conv{number}.conv.weight"
        for kind in ("weight", "bias"):
            yield f"{theirs}.convs.{number - 1}.norm.{kind}", f"{ours}.norm{number}.{kind}"


def _unet_names(spec: NetworkSpec) -> Iterator[tuple[str, str]]:
    layers = unet_layers(spec)
    last = len(layers.ups)
    if layers.stem:
        yield from _convolution("encoder.stem.convs.0", layers.stem.name)
    for number, stage in enumerate(layers.encoder):
        for place, layer in enumerate(stage):
            if not isinstance(layer, Block):
                yield from _convolution(f"encoder.stages.{number}.0.convs.{place}", layer.name)
                continue
            theirs = f"encoder.stages.{number}.blocks.{place}"
            yield from _convolution(f"{theirs}.conv1", layer.first.name)
            yield from _convolution(f"{theirs}.conv2", layer.second.name)
            if layer.skip:
                # The average over a stride comes first where there is one.
                yield from _convolution(f"{theirs}.skip.{int(max(layer.stride) > 1)}", layer.skip.name)
    for number, up in enumerate(layers.ups):
        for kind in ("weight", "bias"):
            yield f"decoder.transpconvs.{number}.{kind}", f"{up.name}.{kind}"
        for place, convolution in enumerate(up.convolutions):
            yield from _convolution(f"decoder.stages.{number}.convs.{place}", convolution.name)
    for kind in ("weight", "bias"):
        yield f"decoder.seg_layers.{last - 1}.{kind}", f"head.{kind}"


def _convolution(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    yield f"{theirs}.conv.weight", f"{ours}.conv.weight"
    for kind in ("weight", "bias"):
        yield f"{theirs}.norm.{kind}", f"{ours}.norm.{kind}"


def _shown(text: str) -> str:
    """A foreign name, fit for one line of a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text[:80])
