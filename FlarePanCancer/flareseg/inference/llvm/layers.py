"""The layers that networks are made of, computed at once by compiled code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from flareseg.inference.llvm.convolutions import Convolution, Layer, TransposedConvolution
from flareseg.inference.llvm.features import HALF, Features, Floats, Memory, Parts, address, work_off
from flareseg.inference.llvm.kernels import Kernels
from flareseg.inference.llvm.winograd import CubicWinograd, PlanarWinograd, Winograd
from flareseg.model.networks.layers import Layers, padding_of, without_zeros
from flareseg.model.networks.spec import EPSILON, SLOPE, Sizes


class CompiledLayers(Layers[Parts]):
    """Layers by the names of their tensors.

    Args:
        weights: of the network; a convolution's are let go when its layer has arranged them.
        kernels: machine code.
        threads: to compute on.
        idle: the name of a convolution that would hand on its input as it is; it is left out.
    """

    def __init__(
        self, weights: dict[str, torch.Tensor], kernels: Kernels, threads: int, idle: str | None = None
    ) -> None:
        self._weights, self._kernels, self._threads = dict(weights), kernels, threads
        self._layers: dict[str, Layer] = {}
        self._idle = idle
        self._memory, self._window = Memory(), (0, 0, 0)

    def image(self, values: Floats) -> Parts:
        """(z, y, x), from which a network begins."""
        if values.shape != self._window:  # whose arrays are of other sizes
            self._window = values.shape
            self._memory.release()
        return (Features.plain(values[..., None], 1),)

    def convolution(self, x: Parts, name: str, stride: Sizes, *, monai: bool) -> Parts:
        if name == self._idle:
            return x

        def built(weight: Floats, parts: list[tuple[int, int]]) -> Layer:
            depth, height, width = weight.shape[2:]
            padding = padding_of(name, (depth, height, width), stride, monai=monai)
            weight, before, after = without_zeros(weight, padding, stride)
            kinds: tuple[type[Winograd], ...] = (CubicWinograd, PlanarWinograd)
            if any(features.is_image for features in x):
                kinds = (PlanarWinograd,)
            for kind in kinds:
                if kind.fits(weight.shape[2:], stride, x[0].shape_zyx):
                    return kind(self._kernels, weight, parts)
            return Convolution(self._kernels, weight, parts, stride, before, after)

        return self._run(x, name, built)

    def transposed(self, x: Parts, name: str, stride: Sizes) -> Parts:
        result = self._run(x, name, lambda weight, parts: TransposedConvolution(self._kernels, weight, parts))
        return self.plus(result, f"{name}.bias")

    def normalised(self, x: Parts, name: str) -> Parts:
        (features,) = x
        assert features.moments is not None
        mean, variance = features.moments
        weight, bias = (self._per_channel(features, f"{name}.{kind}") for kind in ("weight", "bias"))
        scale = weight / np.sqrt(variance + EPSILON)
        shift = bias - mean * scale
        return (replace(features, scale=scale.astype(np.float32), shift=shift.astype(np.float32)),)

    def active(self, x: Parts) -> Parts:
        return tuple(replace(features, slope=SLOPE) for features in x)

    def joined(self, x: Parts, skip: Parts) -> Parts:
        # Compiled code reads where it is told to, so that nothing else would notice.
        if len({features.shape_zyx for features in (*x, *skip)}) > 1:
            raise ValueError("The window is no multiple of the network's strides.")
        return (*x, *skip)

    def averaged(self, x: Parts, stride: Sizes) -> Parts:
        (features,) = x
        channels_first = torch.from_numpy(self._applied(features)).permute(3, 0, 1, 2)[None]
        mean = F.avg_pool3d(channels_first, stride, stride)[0].permute(1, 2, 3, 0)
        return (Features.plain(mean.contiguous().numpy(), features.channels),)

    def added(self, x: Parts, other: Parts) -> Parts:
        (one,), (two,) = x, other
        total = self._applied(one)
        total += self._applied(two)
        return (Features.plain(total, one.channels),)

    def plus(self, x: Parts, name: str) -> Parts:
        if name == f"{self._idle}.bias":
            return x
        (features,) = x
        return (replace(features, shift=features.shift + self._per_channel(features, name).astype(np.float32)),)

    def planar(self, x: Parts) -> Floats:
        """(channels, z, y, x), in memory that is used again when nobody has it any more."""
        (features,) = x
        depth, height, width = features.shape_zyx
        result = self._memory.array(features.channels, depth, height, width)
        used = slice(features.channels)
        scale, shift = features.scale[used, None, None], features.shift[used, None, None]

        def work(z: int) -> None:
            np.multiply(features.values[z, ..., used].transpose(2, 0, 1), scale, out=result[:, z])
            result[:, z] += shift
            if features.slope != 1:
                np.maximum(result[:, z], features.slope * result[:, z], out=result[:, z])

        work_off(range(depth), lambda: work, self._threads)
        return result

    def blend(self, x: Parts, total: torch.Tensor, weights_zyx: Sequence[Floats]) -> None:
        """Add to (channels, z, y, x) in half precision, times the product of the weights along z, y and x."""
        (features,) = x
        _, rows, columns, width = features.values.shape
        slopes = np.array([features.slope], np.float32)
        z_weights, y_weights, x_weights = (np.ascontiguousarray(line, np.float32) for line in weights_zyx)
        channel_step, slice_step, row_step, _ = total.stride()
        by = *map(address, (features.scale, features.shift, slopes)), width, rows, columns

        def worker() -> Callable[[int], None]:
            scratch = np.empty((self._kernels.lanes, columns), np.float32)

            def work(z: int) -> None:
                self._kernels.blend(
                    address(features.values[z]), *by, address(z_weights[z:]), address(y_weights), address(x_weights),
                    address(scratch), total.data_ptr() + HALF * z * slice_step, len(total), channel_step, row_step,
                )  # fmt: skip

            return work

        work_off(range(len(features.values)), worker, self._threads)

    def _run(self, x: Parts, name: str, built: Callable[[Floats, list[tuple[int, int]]], Layer]) -> Parts:
        layer = self._layers.get(name)
        if layer is None:
            parts = [(part.channels, part.width(self._kernels.lanes)) for part in x]
            layer = self._layers[name] = built(self._weights.pop(f"{name}.weight").float().numpy(), parts)
        return (layer(x, self._memory, self._threads),)

    def _applied(self, features: Features) -> Floats:
        """Values as whoever reads them would see them."""
        scale, shift = torch.from_numpy(features.scale), torch.from_numpy(features.shift)
        values: Floats = F.leaky_relu_(
            torch.addcmul(shift, torch.from_numpy(features.values), scale), features.slope
        ).numpy()
        return values

    def _per_channel(self, features: Features, name: str) -> Floats:
        """One number per channel, and zeros for those that only fill up."""
        filled = np.zeros(features.values.shape[-1], np.float32)
        filled[: features.channels] = self._weights[name].float().numpy()
        return filled
