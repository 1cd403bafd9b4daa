"""What an architecture needs of layers to describe its network, whatever computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import ModelError
from flareseg.model.networks.spec import Sizes

X = TypeVar("X")
"""What one layer hands to the next."""


class Layers(ABC, Generic[X]):
    """Layers by the names of their tensors; x is what a layer before it returned."""

    @abstractmethod
    def convolution(self, x: X, name: str, stride: Sizes, *, monai: bool) -> X:
        """Convolution with `name`.weight; `monai`: padded by MONAI's rule, else by half the kernel."""

    @abstractmethod
    def transposed(self, x: X, name: str, stride: Sizes) -> X:
        """Transposed convolution as large as its stride, with `name`.weight and .bias."""

    @abstractmethod
    def normalised(self, x: X, name: str) -> X:
        """Instance norm, right after a convolution, with `name`.weight and .bias."""

    @abstractmethod
    def active(self, x: X) -> X:
        """Leaky ReLU."""

    @abstractmethod
    def joined(self, x: X, skip: X) -> X:
        """Channels of both."""

    @abstractmethod
    def averaged(self, x: X, stride: Sizes) -> X:
        """Mean of every `stride` voxels."""

    @abstractmethod
    def added(self, x: X, other: X) -> X:
        """Sum of both."""

    @abstractmethod
    def plus(self, x: X, name: str) -> X:
        """One number per channel added."""


def padding_of(name: str, kernel: Sizes, stride: Sizes, *, monai: bool) -> Sizes:
    """Voxels of zeros on both sides, along z, y and x, of the convolution `name`; see `Layers.convolution`.

    Raises:
        ModelError: when there is no such convolution.
    """
    # kernels are odd, so that stride 1 keeps the size either way
    z, y, x = ((size - step + 1) // 2 if monai else (size - 1) // 2 for size, step in zip(kernel, stride, strict=True))
    if min(z, y, x) < 0:
        raise ModelError(f"The model's network cannot be built: '{name}' strides further than its kernel reaches.")
    return z, y, x


def without_zeros(
    weight: NDArray[Any], padding: Sizes, stride: Sizes
) -> tuple[NDArray[Any], tuple[int, ...], tuple[int, ...]]:
    """The same convolution without those outermost taps of its kernel that are 0 in all channels, as they are where a
    kernel was widened to fit into another program's network.

    Args:
        weight: (outputs, inputs, z, y, x).
        padding: on both sides, along z, y and x.
        stride: along z, y and x. Kernels with stride 1 stay odd.

    Returns:
        The weight, the padding before the image and that after it.
    """
    used = (weight != 0).any((0, 1))
    kept, before, after = [slice(None)] * 2, [], []
    for axis, (size, pad, step) in enumerate(zip(used.shape, padding, stride, strict=True)):
        places = np.flatnonzero(used.any(tuple({0, 1, 2} - {axis})))
        front, back = (int(places[0]), size - 1 - int(places[-1])) if len(places) else (size // 2, (size - 1) // 2)
        front, back = min(front, pad), min(back, pad)
        if step == 1:
            front = back = min(front, back)
        kept.append(slice(front, size - back))
        before.append(pad - front)
        after.append(pad - back)
    return np.ascontiguousarray(weight[tuple(kept)]), tuple(before), tuple(after)
