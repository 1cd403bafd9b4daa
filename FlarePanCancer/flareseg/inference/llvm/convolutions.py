"""Convolutions as products of matrices, block by block, so that what is worked on stays in the processor's cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import product

import numpy as np

from flareseg.inference.llvm.features import (
    FLOAT,
    Block,
    Features,
    Floats,
    Memory,
    Moments,
    Parts,
    address,
    packed,
    steps,
    total_width,
    work_off,
)
from flareseg.inference.llvm.kernels import Kernels
from flareseg.model.networks.spec import Sizes

ROWS_AT_ONCE = 128
"""Of a left matrix: enough to read the right one seldom, few enough to stay in the cache."""
BLOCK_FLOATS = 2**16
"""Of the input at a time, where there are enough rows: what is done between two blocks takes time as well."""


class Layer(ABC):
    """A layer with weights.

    Args:
        kernels: machine code.
        weight: see there.
        parts: of the input, each one's channels and its channels in a block.
    """

    def __init__(self, kernels: Kernels, weight: Floats, parts: list[tuple[int, int]]) -> None:
        self._kernels = kernels
        self._outputs = weight.shape[0]
        self._right = self._arranged(packed(weight.reshape(*weight.shape[:2], -1), parts, kernels.panel))

    @abstractmethod
    def __call__(self, parts: Parts, memory: Memory, threads: int) -> Features:
        """The output, with its moments."""

    @abstractmethod
    def _arranged(self, weight: Floats) -> Floats:
        """(panels, taps, channels in, outputs) to (batches, panels, taps, channels in, outputs)."""

    def _rows_at_once(self, parts: Parts, slices: int) -> int:
        """Rows of the input, of so many slices each, that stay in the cache."""
        row = parts[0].shape_zyx[2] * total_width(parts, self._kernels.lanes)
        return BLOCK_FLOATS // (slices * row)

    @property
    def _panels(self) -> int:
        return int(self._right.shape[1])

    @property
    def _width(self) -> int:
        """Of the output, in channels."""
        return self._panels * self._kernels.panel


class Convolution(Layer):
    """With any kernel and stride.

    Args:
        weight: (outputs, inputs, z, y, x).
        stride: along z, y and x.
        before, after: padding on both sides, along z, y and x.
    """

    def __init__(
        self, kernels: Kernels, weight: Floats, parts: list[tuple[int, int]], stride: Sizes,
        before: tuple[int, ...], after: tuple[int, ...],
    ) -> None:  # fmt: skip
        super().__init__(kernels, weight, parts)
        self._kernel, self._stride, self._before, self._after = weight.shape[2:], stride, before, after

    def _arranged(self, weight: Floats) -> Floats:
        return weight[None]

    def __call__(self, parts: Parts, memory: Memory, threads: int) -> Features:
        shape = tuple(
            (size + before + after - kernel) // step + 1
            for size, before, after, kernel, step in zip(
                parts[0].shape_zyx, self._before, self._after, self._kernel, self._stride, strict=True
            )
        )
        depth, height, columns = shape
        result = memory.array(*shape, self._width)
        fit = (self._rows_at_once(parts, self._kernel[0]) - self._kernel[1]) // self._stride[1] + 1
        at_once = min(height, max(fit, -(-ROWS_AT_ONCE // columns)))
        starts = range(0, height, at_once)
        moments = Moments(self._kernels, depth * len(starts), self._width)
        start = address(result)

        def worker() -> Callable[[tuple[int, int]], None]:
            (kernel_z, kernel_y, kernel_x), (step_z, step_y, step_x) = self._kernel, self._stride
            rows, wide = (at_once - 1) * step_y + kernel_y, (columns - 1) * step_x + kernel_x
            wide = max(wide, parts[0].shape_zyx[2] + self._before[2])
            block = Block(self._kernels, parts, kernel_z, rows, wide, self._before[2])
            channels = block.channels
            left_rows = steps((at_once, step_y * block.row), (columns, step_x * channels))
            taps = steps((kernel_z, block.slice), (kernel_y, block.row), (kernel_x, channels))
            result_rows = steps((len(left_rows), self._width))

            def work(task: tuple[int, int]) -> None:
                z, number = task
                y = starts[number]
                block.load(z * step_z - self._before[0], y * step_y - self._before[1])
                voxels = min(at_once, height - y) * columns
                target = start + FLOAT * (z * height + y) * columns * self._width
                self._kernels.multiply(
                    block.address, 0, address(left_rows), address(taps), len(taps), channels, address(self._right), 0,
                    target, 0, address(result_rows), voxels, self._panels, 1,
                )  # fmt: skip
                moments.add(z * len(starts) + number, target, voxels)

            return work

        work_off(product(range(depth), range(len(starts))), worker, threads)
        return Features.plain(result, self._outputs, moments.combined())


class TransposedConvolution(Layer):
    """As large as its stride.

    Args:
        weight: (inputs, outputs, z, y, x).
    """

    def __init__(self, kernels: Kernels, weight: Floats, parts: list[tuple[int, int]]) -> None:
        super().__init__(kernels, weight.swapaxes(0, 1), parts)
        self._stride = weight.shape[2:]

    def _arranged(self, weight: Floats) -> Floats:
        return np.ascontiguousarray(weight.swapaxes(0, 1)[:, :, None])

    def __call__(self, parts: Parts, memory: Memory, threads: int) -> Features:
        depth, height, columns = parts[0].shape_zyx
        step_z, step_y, step_x = self._stride
        result = memory.array(depth * step_z, height * step_y, columns * step_x, self._width)
        at_once = min(height, max(1, self._rows_at_once(parts, 1)))
        line = result.shape[2] * self._width
        slab = result.shape[1] * line
        start = address(result)
        places_of = steps((step_z, slab), (step_y, line), (step_x, self._width)).tolist()
        corners = [(address(right), FLOAT * place) for right, place in zip(self._right, places_of, strict=True)]

        def worker() -> Callable[[tuple[int, int]], None]:
            block = Block(self._kernels, parts, 1, at_once, columns, 0)
            left_rows = steps((at_once * columns, block.channels))
            result_rows = steps((at_once, step_y * line), (columns, step_x * self._width))
            taps = steps((1, 0))

            def work(task: tuple[int, int]) -> None:
                z, y = task
                block.load(z, y)
                target = start + FLOAT * (z * step_z * slab + y * step_y * line)
                voxels = min(at_once, height - y) * columns
                for right, corner in corners:
                    self._kernels.multiply(
                        block.address, 0, address(left_rows), address(taps), 1, block.channels, right, 0,
                        target + corner, 0, address(result_rows), voxels, self._panels, 1,
                    )  # fmt: skip

            return work

        work_off(product(range(depth), range(0, height, at_once)), worker, threads)
        return Features.plain(result, self._outputs)
