"""What an architecture needs of layers to describe its network, whatever computes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

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
