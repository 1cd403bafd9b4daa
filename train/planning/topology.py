"""Stages of a U-Net for a spacing and a patch, and how large its feature maps are: the rules of nnU-Net v2.

Isensee et al. 2021 (doi 10.1038/s41592-020-01008-z) describe the rules; where they leave something open, this does what
nnunetv2 2.8.1 plans.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHORTEST = 4
"""No axis of a feature map is halved to fewer voxels than this."""
SIMILAR = 2
"""Axes whose spacings differ by less than this factor are halved, and convolved, together."""
FIRST_FILTERS, MOST_FILTERS = 32, 320
RESIDUAL_BLOCKS = (1, 3, 4, 6)
"""Of the encoder of a residual net per stage, the last in every further one; a block has two convolutions."""


@dataclass(frozen=True)
class Preset:
    """A kind of net, and what it may need.

    Attributes:
        values: in the feature maps of a batch of 2 that trains with `memory_gb`.
        memory_gb: of the GPU that it is meant for.
        residual: whether the encoder has residual blocks and the decoder one convolution a stage; or else two each.
        share: largest part of all voxels of a data set in one batch.
    """

    values: int
    memory_gb: float = 8.0
    residual: bool = False
    share: float = 0.05


PRESETS = {
    "plain": Preset(560_000_000),
    "resenc_m": Preset(680_000_000, residual=True, share=1.0),
    "resenc_l": Preset(2_100_000_000, 24.0, residual=True, share=1.0),
    "resenc_xl": Preset(3_600_000_000, 40.0, residual=True, share=1.0),
}
"""nnU-Net's default, and its presets with residual encoders (Isensee et al. 2024, arXiv 2404.09556)."""


@dataclass(frozen=True)
class Topology:
    """Stages of a U-Net, full resolution first, and the patch that they can divide.

    Attributes:
        strides: per stage and axis, the first 1.
        kernels: per stage and axis, 1 or 3.
        patch: voxels per axis, the patch asked for rounded up to a multiple of `divisor`.
        divisor: product of the strides per axis.
    """

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    patch: tuple[int, ...]
    divisor: tuple[int, ...]

    @property
    def filters(self) -> tuple[int, ...]:
        """Channels per stage."""
        return tuple(min(MOST_FILTERS, FIRST_FILTERS * 2**stage) for stage in range(len(self.strides)))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Residual blocks per stage of the encoder, if it has any."""
        last = len(RESIDUAL_BLOCKS) - 1
        return tuple(RESIDUAL_BLOCKS[min(stage, last)] for stage in range(len(self.strides)))


def topology_of(spacing: Iterable[float], patch: Sequence[float]) -> Topology:
    """The stages of a net for patches of about `patch` voxels at a spacing in mm, axes in the same order."""
    mm, size = list(spacing), [float(voxels) for voxels in patch]
    axes = range(len(mm))
    kernel = [1] * len(mm)
    strides: list[tuple[int, ...]] = [(1,) * len(mm)]
    kernels: list[tuple[int, ...]] = []
    while True:
        long = [axis for axis in axes if size[axis] >= 2 * SHORTEST]
        finest = min((mm[axis] for axis in long), default=0.0)
        halved = [axis for axis in long if mm[axis] / finest < SIMILAR]
        if not halved or (len(halved) == 1 and size[halved[0]] < 3 * SHORTEST):
            break
        kernel = [3 if kernel[axis] == 3 or mm[axis] / min(mm) < SIMILAR else 1 for axis in axes]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        for axis in halved:
            mm[axis] *= 2
            size[axis] = math.ceil(size[axis] / 2)
    kernels.append((3,) * len(mm))
    divisor = tuple(math.prod(stride[axis] for stride in strides) for axis in axes)
    padded = tuple(math.ceil(voxels / step) * step for voxels, step in zip(patch, divisor, strict=True))
    return Topology(tuple(strides), tuple(kernels), padded, divisor)


def feature_map_values(topology: Topology, outputs: int, residual: bool = False) -> int:
    """Values in all feature maps of one patch, which stand for the memory that training needs: those of every
    convolution and transposed convolution, and of the output with its `outputs` channels."""
    size, voxels = list(topology.patch), []
    for stride in topology.strides:
        size = [length // step for length, step in zip(size, stride, strict=True)]
        voxels.append(math.prod(size))
    maps = [filters * count for filters, count in zip(topology.filters, voxels, strict=True)]
    if residual:  # the stem counts as one, as does the convolution beside the first block of every later stage
        encoder = sum((2 * blocks + 1) * values for blocks, values in zip(topology.blocks, maps, strict=True))
    else:
        encoder = sum(2 * values for values in maps)
    decoder = sum((2 if residual else 3) * values for values in maps[:-1])
    return encoder + decoder + outputs * voxels[0]
