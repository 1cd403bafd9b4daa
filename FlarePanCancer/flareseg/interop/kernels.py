"""The layers of a U-Net by level, and kernels that another implementation wants larger.

DynUNet gives the blocks of its decoder the kernel of the level below, nnU-Net's PlainConvUNet that of their own level.
Where kernel sizes differ between levels, one cannot hold the other's weights as they are. A convolution stays the same
when its kernel is widened with zeros, so both can hold any net whose kernels are as large as the largest one wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

from flareseg.errors import ModelError

if TYPE_CHECKING:
    import torch

    from flareseg.model.plan import Plan

Kernel = list[int]
"""Size along z, y, x."""


def stage_count(plan: Plan, kind: str) -> int:
    """Resolutions of the net, which must be a plain U-Net.

    Raises:
        ModelError: when it is another.
    """
    if plan.network.name != "DynUNet":
        raise ModelError(f"A network of the kind '{plan.network.name}' cannot be exported as {kind}; onnx takes it.")
    return len(plan.network.kwargs["filters"])


def strides(plan: Plan) -> list[list[int]]:
    """Per stage and axis."""
    return [stride if isinstance(stride, list) else [stride] * 3 for stride in plan.network.kwargs["strides"]]


def encoder_blocks(stages: int) -> list[str]:
    """DynUNet's name of every encoder block, full resolution first."""
    return ["input_block", *(f"downsamples.{stage}" for stage in range(stages - 2)), "bottleneck"]


def decoder_blocks(stages: int) -> list[str]:
    """DynUNet's name of every decoder block, full resolution first; the lowest resolution has none."""
    return [f"upsamples.{stages - 2 - level}.conv_block" for level in range(stages - 1)]


def convolutions(block: str) -> tuple[str, str]:
    """The names of the tensors of both convolutions of a block."""
    return f"{block}.conv1.conv.weight", f"{block}.conv2.conv.weight"


def common_kernel(weights: dict[str, torch.Tensor], blocks: list[str]) -> Kernel:
    """The smallest kernel that holds every kernel of these blocks."""
    sizes = [weights[name].shape[2:] for block in blocks for name in convolutions(block)]
    return [max(axis) for axis in zip(*sizes, strict=True)]


def widened(weight: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """(out, in, z, y, x) weights in fp32 with zeros around them up to `kernel`; odd sizes, so the middle stays."""
    sides = [(wanted - size) // 2 for size, wanted in zip(weight.shape[2:], kernel, strict=True)]
    return F.pad(weight.float(), [side for side in reversed(sides) for side in (side, side)])
