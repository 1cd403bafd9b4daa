"""The layers that networks are made of, in OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flareseg.errors import ModelError
from flareseg.model.networks.spec import EPSILON, SLOPE, Sizes
from flareseg.system.private_imports import import_openvino

if TYPE_CHECKING:
    import torch


class Layers:
    """Layers by the names of their tensors; x is what a layer before it returned."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self._weights, self._op = weights, import_openvino().opset13

    def convolution(self, x: Any, name: str, stride: Sizes, *, monai: bool) -> Any:
        """Convolution with `name`.weight; `monai`: padded by MONAI's rule, else by half the kernel."""
        weight = self._values(f"{name}.weight")
        sizes = zip(weight.shape[2:], stride, strict=True)
        # kernels are odd, so that stride 1 keeps the size either way
        padding = [(kernel - step + 1) // 2 if monai else (kernel - 1) // 2 for kernel, step in sizes]
        if min(padding) < 0:
            raise ModelError(f"The model's network cannot be built: '{name}' strides further than its kernel reaches.")
        return self._op.convolution(x, self._op.constant(weight), list(stride), padding, padding, [1, 1, 1])

    def normalised(self, x: Any, name: str) -> Any:
        """Instance norm with `name`.weight and .bias."""
        axes = self._op.constant(np.array([2, 3, 4]))
        x = self._op.mvn(x, axes, normalize_variance=True, eps=EPSILON, eps_mode="inside_sqrt")
        return self.plus(self._op.multiply(x, self._per_channel(f"{name}.weight")), f"{name}.bias")

    def active(self, x: Any) -> Any:
        return self._op.prelu(x, self._op.constant(np.array([SLOPE], np.float32)))

    def transposed(self, x: Any, name: str, stride: Sizes) -> Any:
        """Transposed convolution as large as its stride, with `name`.weight and .bias."""
        zero, one = [0, 0, 0], [1, 1, 1]
        weight = self._op.constant(self._values(f"{name}.weight"))
        x = self._op.convolution_backprop_data(x, weight, list(stride), pads_begin=zero, pads_end=zero, dilations=one)
        return self.plus(x, f"{name}.bias")

    def joined(self, x: Any, skip: Any) -> Any:
        return self._op.concat([x, skip], axis=1)

    def averaged(self, x: Any, stride: Sizes) -> Any:
        """Mean of every `stride` voxels."""
        sizes, zero = list(stride), [0, 0, 0]
        return self._op.avg_pool(x, sizes, zero, zero, sizes, exclude_pad=True)

    def added(self, x: Any, other: Any) -> Any:
        return self._op.add(x, other)

    def plus(self, x: Any, name: str) -> Any:
        """One number per channel added."""
        return self._op.add(x, self._per_channel(name))

    def _per_channel(self, name: str) -> Any:
        return self._op.constant(self._values(name).reshape(1, -1, 1, 1, 1))

    def _values(self, name: str) -> Any:
        return self._weights[name].float().numpy()
