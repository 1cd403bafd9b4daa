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
from flareseg.inference.llvm.kernels import FREQUENCIES, TILE, WINDOW, Kernels
from flareseg.model.networks.spec import Sizes
from flareseg.volume import Index

ROWS_AT_ONCE = 128
"""Of a left matrix: enough to read the right one seldom, few enough to stay in the cache."""
BLOCK_FLOATS = 2**16
"""Of the input at a time, where there are enough rows: what is done between two blocks takes time as well."""
APART = 16
"""Floats more between two frequencies. At multiples of 4 KiB they would take the same places in the cache, which makes
their transformation ten times slower."""
LEAST_TILES = 128
"""Below, Winograd's larger weights take longer to read than its fewer multiplications save."""
POINTS = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
"""(6, 3) a kernel's values at the points 0, 1, -1, 2, -2 and infinity."""


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
        stride, padding: along z, y and x; as much padding on both sides.
    """

    def __init__(
        self, kernels: Kernels, weight: Floats, parts: list[tuple[int, int]], stride: Sizes, padding: Sizes
    ) -> None:
        super().__init__(kernels, weight, parts)
        self._kernel, self._stride, self._padding = weight.shape[2:], stride, padding

    def _arranged(self, weight: Floats) -> Floats:
        return weight[None]

    def __call__(self, parts: Parts, memory: Memory, threads: int) -> Features:
        shape = tuple(
            (size + 2 * padding - kernel) // step + 1
            for size, padding, kernel, step in zip(
                parts[0].shape_zyx, self._padding, self._kernel, self._stride, strict=True
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
            wide = max(wide, parts[0].shape_zyx[2] + self._padding[2])
            block = Block(self._kernels, parts, kernel_z, rows, wide, self._padding[2])
            channels = block.channels
            left_rows = steps((at_once, step_y * block.row), (columns, step_x * channels))
            taps = steps((kernel_z, block.slice), (kernel_y, block.row), (kernel_x, channels))
            result_rows = steps((len(left_rows), self._width))

            def work(task: tuple[int, int]) -> None:
                z, number = task
                y = starts[number]
                block.load(z * step_z - self._padding[0], y * step_y - self._padding[1])
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


class WinogradConvolution(Layer):
    """With a kernel of 3×3 in the plane and stride 1: 36 products make 16 outputs, in place of 144.

    Along z, whatever the kernel, products of slices are added up. Lavin and Gray, Fast Algorithms for Convolutional
    Neural Networks, CVPR 2016, F(4×4, 3×3).

    Args:
        weight: (outputs, inputs, z, 3, 3), z odd.
    """

    def __init__(self, kernels: Kernels, weight: Floats, parts: list[tuple[int, int]]) -> None:
        self._taps = weight.shape[2]
        super().__init__(kernels, weight, parts)

    @staticmethod
    def fits(kernel: Sizes, stride: Sizes, shape_zyx: Index) -> bool:
        """Whether it computes such a convolution, and is the faster way."""
        depth, height, width = shape_zyx
        tiles = depth * -(-height // TILE) * -(-width // TILE)
        return kernel[1:] == (3, 3) and kernel[0] % 2 == 1 and max(stride) == 1 and tiles >= LEAST_TILES

    def _arranged(self, weight: Floats) -> Floats:
        # By our own product of matrices: numpy's would wait for all threads thousands of times.
        panels, _, inputs, outputs = weight.shape
        nine = np.ascontiguousarray(weight.reshape(panels, self._taps, 9, inputs, outputs).swapaxes(2, 3))
        right = np.empty((FREQUENCIES, panels, self._taps, inputs, outputs), np.float32)
        points = np.kron(POINTS, POINTS).astype(np.float32)  # (36, 9)
        tables = steps((FREQUENCIES, 9)), steps((1, 0)), steps((FREQUENCIES, right[0].size))
        left_rows, taps, result_rows = map(address, tables)
        for number, tap in product(range(panels), range(self._taps)):
            self._kernels.multiply(
                address(points), 0, left_rows, taps, 1, 9, address(nine[number, tap]), 0,
                address(right[0, number, tap]), 0, result_rows, FREQUENCIES, inputs, 1,
            )  # fmt: skip
        return right

    def __call__(self, parts: Parts, memory: Memory, threads: int) -> Features:
        depth, height, columns = parts[0].shape_zyx
        result = memory.array(depth, height, columns, self._width)
        moments = Moments(self._kernels, -(-height // TILE) * depth, self._width)
        starts = range(0, height, TILE)
        # A row of tiles goes through all slices, unless there are too few rows for all threads.
        chunk = depth if len(starts) >= 2 * threads else max(1, -(-depth * len(starts) // (2 * threads)))
        tasks = product(range(len(starts)), range(0, depth, chunk))
        work_off(tasks, lambda: _TileRow(self, parts, result, moments, chunk).work, threads)
        return Features.plain(result, self._outputs, moments.combined())


class _TileRow:
    """What one thread needs to compute rows of tiles, some slices at a time."""

    def __init__(self, layer: WinogradConvolution, parts: Parts, result: Floats, moments: Moments, chunk: int) -> None:
        self._kernels, self._taps, right = layer._kernels, layer._taps, layer._right
        self._result, self._moments, self._chunk = result, moments, chunk
        self._tiles = -(-result.shape[2] // TILE)
        self._slices = max(self._taps - 1, min(chunk, ROWS_AT_ONCE // self._tiles), 1)
        self._block = Block(self._kernels, parts, 1, WINDOW, self._tiles * TILE + 2, 1)
        channels, width = self._block.channels, result.shape[3]
        self._slice = self._tiles * channels
        rows = self._slices * self._tiles
        self._left = np.empty((FREQUENCIES, (self._slices + self._taps - 1) * self._slice + APART), np.float32)
        self._products = np.empty((FREQUENCIES, rows * width + APART), np.float32)
        self._tables = steps((rows, channels)), steps((self._taps, self._slice)), steps((rows, width))
        left_rows, offsets, result_rows = map(address, self._tables)
        self._arguments = (
            address(self._left), self._left.shape[1], left_rows, offsets, self._taps, channels, address(right),
            right[0].size, address(self._products), self._products.shape[1], result_rows,
        )  # fmt: skip
        self._panels = right.shape[1]

    def work(self, task: tuple[int, int]) -> None:
        row, first = task
        stop = min(first + self._chunk, len(self._result))
        kept, slices = self._taps - 1, self._slices
        for z in range(first, stop, slices):
            count = min(slices, stop - z)
            if z == first:
                self._transform(row, z - self._taps // 2, 0, kept + count)
            else:
                self._left[:, : kept * self._slice] = self._left[:, slices * self._slice :][:, : kept * self._slice]
                self._transform(row, z + self._taps // 2, kept, count)
            self._kernels.multiply(*self._arguments, count * self._tiles, self._panels, FREQUENCIES)
            self._put(row, z, count)

    def _transform(self, row: int, z: int, slot: int, slices: int) -> None:
        """Slices of the input from z on to frequencies, from `slot` on."""
        target = address(self._left) + FLOAT * slot * self._slice
        self._block.load_frequencies(z, slices, row * TILE - 1, target, self._left.shape[1], self._tiles)

    def _put(self, row: int, z: int, slices: int) -> None:
        """Products to slices of the result from z on."""
        depth, height, columns, width = self._result.shape
        y = row * TILE
        rows = min(TILE, height - y)
        target = address(self._result) + FLOAT * (z * height + y) * columns * width
        moments = self._moments.of(row * depth + z, slices, rows * columns)
        self._kernels.store_frequencies(
            address(self._products), self._products.shape[1], target, columns * width, self._tiles, width, rows,
            columns, slices, height * columns * width, moments,
        )  # fmt: skip
