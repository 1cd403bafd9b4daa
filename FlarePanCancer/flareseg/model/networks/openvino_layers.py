"""The layers that networks are made of, in OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flareseg.model.networks.layers import Layers, padding_of, without_zeros
from flareseg.model.networks.spec import EPSILON, SLOPE, Sizes
from flareseg.system.private_imports import import_openvino

if TYPE_CHECKING:
    import torch


class OpenVinoLayers(Layers[Any]):
    """Parts of a graph."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self._weights, self._op = weights, import_openvino().opset13

    def convolution(self, x: Any, name: str, stride: Sizes, *, monai: bool) -> Any:
        weight = self._values(f"{name}.weight")
        padding = padding_of(name, weight.shape[2:], stride, monai=monai)
        weight, before, after = without_zeros(weight, padding, stride)
        return self._op.convolution(x, self._op.constant(weight), list(stride), list(before), list(after), [1, 1, 1])

    def normalised(self, x: Any, name: str) -> Any:
        axes = self._op.constant(np.array([2, 3, 4]))
        x = self._op.mvn(x, axes, normalize_variance=True, eps=EPSILON, eps_mode="inside_sqrt")
        return self.plus(self._op.multiply(x, self._per_channel(f"{name}.weight")), f"{name}.bias")

    def active(self, x: Any) -> Any:
        return self._op.prelu(x, self._op.constant(np.array([SLOPE], np.float32)))

    def transposed(self, x: Any, name: str, stride: Sizes) -> Any:
        zero, one = [0, 0, 0], [1, 1, 1]
        weight = self._op.constant(self._values(f"{name}.weight"))
        x = self._op.convolution_backprop_data(x, weight, list(stride), pads_begin=zero, pads_end=zero, dilations=one)
        return self.plus(x, f"{name}.bias")

    def joined(self, x: Any, skip: Any) -> Any:
        return self._op.concat([x, skip], axis=1)

    def averaged(self, x: Any, stride: Sizes) -> Any:
        sizes, zero = list(stride), [0, 0, 0]
        return self._op.avg_pool(x, sizes, zero, zero, sizes, exclude_pad=True)

    def added(self, x: Any, other: Any) -> Any:
        return self._op.add(x, other)

    def plus(self, x: Any, name: str) -> Any:
        return self._op.add(x, self._per_channel(name))

    def _per_channel(self, name: str) -> Any:
        return self._op.constant(self._values(name).reshape(1, -1, 1, 1, 1))

    def _values(self, name: str) -> Any:
        return self._weights[name].float().numpy()
