"""nnU-Net's tensors under our names: PlainConvUNet as DynUNet where that can be, else either network as our `UNet`.

Both networks of nnU-Net have biases before their instance norms, which the norms take away again: they are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flareseg.errors import ModelError
from flareseg.model.networks.dynunet import pads_as_nnunet, spec_as_in_nnunet
from flareseg.model.networks.registry import architecture_of
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.networks.unet import unet_spec
from flareseg.text import shortened

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
    if not residual and set(blocks) == set(decoder_convolutions) == {2} and pads_as_nnunet(strides):
        return spec_as_in_nnunet(filters, kernels, strides)
    return unet_spec(
        filters,
        kernels,
        strides,
        residual=residual,
        blocks=blocks,
        decoder_convolutions=decoder_convolutions,
        stem_filters=stem_filters,
    )


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

    for theirs, ours in architecture_of(spec).nnunet_names(spec):
        weight = theirs.removesuffix("bias") + "weight"
        if theirs.startswith(("decoder.transpconvs", "decoder.seg_layers")) and theirs not in given and weight in used:
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


def _shown(text: str) -> str:
    """A foreign name, fit for one line of a terminal."""
    return shortened(text, 80)
