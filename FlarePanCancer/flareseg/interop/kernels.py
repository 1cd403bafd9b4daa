"""A plain U-Net for other programs, and its convolutions with kernels as large as theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

from flareseg.errors import ModelError
from flareseg.model.networks.dynunet import NAME, DynUNetLayers, dynunet_layers
from flareseg.model.networks.spec import NetworkSpec, Sizes

if TYPE_CHECKING:
    import torch


def plain_unet(spec: NetworkSpec, kind: str) -> DynUNetLayers:
    """The layers of a network that can be exported as `kind`.

    Raises:
        ModelError: when it is no plain U-Net.
    """
    if spec.name != NAME:
        raise ModelError(f"A network of the kind '{spec.name}' cannot be exported as {kind}; onnx takes it.")
    return dynunet_layers(spec)


def with_kernels(weights: dict[str, torch.Tensor], kernels: dict[str, Sizes]) -> dict[str, torch.Tensor]:
    """The tensors in fp32; those that `kernels` names have these kernels."""
    plain = {name: value.float() for name, value in weights.items()}
    return plain | {name: widened(plain[name], kernel) for name, kernel in kernels.items()}


def widened(weight: torch.Tensor, kernel: Sizes) -> torch.Tensor:
    """(out, in, z, y, x) weights with zeros around them up to `kernel`; odd sizes, so the middle stays."""
    sides = [(wanted - size) // 2 for size, wanted in zip(weight.shape[2:], kernel, strict=True)]
    return F.pad(weight, [side for side in reversed(sides) for side in (side, side)])
