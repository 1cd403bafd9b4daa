"""Convolutions with kernels of 3×3 in the plane by Winograd's way, which multiplies less and adds more.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, F(4, 3) along every axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import reduce
from itertools import product

import numpy as np

from flareseg.inference.llvm.convolutions import ROWS_AT_ONCE, Layer
from flareseg.inference.llvm.features import (
    FLOAT,
    Block,
    Features,
    Floats,
    Memory,
    Moments,
    Parts,
    address,
    steps,
    work_off,
)
from flareseg.inference.llvm.kernels import Kernels
from flareseg.inference.llvm.winograd_kernels import FREQUENCIES, TILE, WINDOW
from flareseg.model.networks.spec import Sizes
from flareseg.volume import Index

APART = 16
"""Floats more between two frequencies. At multiples of 4 KiB they would take the same places in the cache, which makes
their transformation ten times slower."""
LEAST_TILES = 128
"""Below, Winograd's larger weights take longer to read than its fewer multiplications save."""
LEAST_CUBES = 256
"""The same of cubes, whose weights are twice as large again."""
CUBES_AT_ONCE = 32
"""Tiles that are multiplied at a time."""
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


class Winograd(Layer):
    """With a kernel of 3 voxels along as many axes as a tile has, and stride 1.

    Attributes:
        axes: of a tile, from the last one on.
        slices_of_tile: along z.
        taps: of the kernel along z, where tiles are planar; their products are added up.
    """

    axes: int
    slices_of_tile: int

    def __init__(self, kernels: Kernels, weight: Floats, parts: list[tuple[int, int]]) -> None:
        self.taps = weight.shape[2] if self.axes == 2 else 1
        super().__init__(kernels, weight, parts)

    @staticmethod
    @abstractmethod
    def fits(kernel: tuple[int, ...], stride: Sizes, shape_zyx: Index) -> bool:
        """Whether it computes such a convolution, and is the faster way."""

    @abstractmethod
    def _worker(self, parts: Parts, result: Floats, moments: Moments, chunk: int) -> _TileRow:
        """Of one thread, for tasks of so many slices."""

    def _arranged(self, weight: Floats) -> Floats:
        # By our own product of matrices: numpy's would wait for all threads thousands of times.
        panels, _, inputs, outputs = weight.shape
        given, wanted = 3**self.axes, WINDOW**self.axes
        left = reduce(np.kron, [POINTS] * self.axes).astype(np.float32)
        middle = np.ascontiguousarray(weight.reshape(panels, self.taps, given, inputs, outputs).swapaxes(2, 3))
        right = np.empty((wanted, panels, self.taps, inputs, outputs), np.float32)
        tables = steps((wanted, given)), steps((1, 0)), steps((wanted, right[0].size))
        left_rows, taps, result_rows = map(address, tables)
        for number, tap in product(range(panels), range(self.taps)):
            self._kernels.multiply(
                address(left), 0, left_rows, taps, 1, given, address(middle[number, tap]), 0,
                address(right[0, number, tap]), 0, result_rows, wanted, inputs, 1,
            )  # fmt: skip
        return right

    def __call__(self, parts: Parts, memory: Memory, threads: int) -> Features:
        depth, height, columns = parts[0].shape_zyx
        result = memory.array(depth, height, columns, self._width)
        moments = Moments(self._kernels, -(-height // TILE) * depth, self._width)
        starts = range(0, height, TILE)
        # A row of tiles goes through all slices, unless there are too few rows for all threads.
        chunk = depth if len(starts) >= 2 * threads else max(1, -(-depth * len(starts) // (2 * threads)))
        chunk = -(-chunk // self.slices_of_tile) * self.slices_of_tile
        tasks = product(range(len(starts)), range(0, depth, chunk))
        work_off(tasks, lambda: self._worker(parts, result, moments, chunk).work, threads)
        return Features.plain(result, self._outputs, moments.combined())


class PlanarWinograd(Winograd):
    """With a kernel of 3×3 in the plane: 36 products make 16 outputs, in place of 144.

    Along z, whatever the kernel, products of slices are added up.

    Args:
        weight: (outputs, inputs, z, 3, 3), z odd.
    """

    axes = 2
    slices_of_tile = 1

    @staticmethod
    def fits(kernel: tuple[int, ...], stride: Sizes, shape_zyx: Index) -> bool:
        depth, height, width = shape_zyx
        tiles = depth * -(-height // TILE) * -(-width // TILE)
        return kernel[1:] == (3, 3) and kernel[0] % 2 == 1 and max(stride) == 1 and tiles >= LEAST_TILES

    def _worker(self, parts: Parts, result: Floats, moments: Moments, chunk: int) -> _TileRow:
        return _PlanarRow(self._kernels, self._right, parts, result, moments, chunk)


class CubicWinograd(Winograd):
    """With a kernel of 3×3×3: 216 products make 64 outputs, in place of 1,728. Not for an image, whose voxels are no
    vectors.

    Args:
        weight: (outputs, inputs, 3, 3, 3).
    """

    axes = 3
    slices_of_tile = TILE

    @staticmethod
    def fits(kernel: tuple[int, ...], stride: Sizes, shape_zyx: Index) -> bool:
        depth, height, width = (-(-size // TILE) for size in shape_zyx)
        return kernel == (3, 3, 3) and max(stride) == 1 and depth * height * width >= LEAST_CUBES

    def _worker(self, parts: Parts, result: Floats, moments: Moments, chunk: int) -> _TileRow:
        return _CubicRow(self._kernels, self._right, parts, result, moments, chunk)


class _TileRow(ABC):
    """What one thread needs to compute rows of tiles, some slices at a time.

    Args:
        right: (frequencies, panels, taps, inputs, outputs) weights.
        chunk: slices of a task.
        at_once: layers of tiles that are multiplied at a time.
        kept: layers more that their inputs reach to.
        slices: of the block that inputs are loaded to.
    """

    def __init__(
        self, kernels: Kernels, right: Floats, parts: Parts, result: Floats, moments: Moments, chunk: int, *,
        at_once: int, kept: int, slices: int,
    ) -> None:  # fmt: skip
        self._kernels, self._result, self._moments, self._chunk = kernels, result, moments, chunk
        self._tiles, self._at_once = -(-result.shape[2] // TILE), at_once
        self._block = Block(kernels, parts, slices, WINDOW, self._tiles * TILE + 2, 1)
        frequencies, panels, taps, channels, _ = right.shape
        width = result.shape[3]
        self._slice = self._tiles * channels
        rows = at_once * self._tiles
        self._left = np.empty((FREQUENCIES, (at_once + kept) * self._slice + APART), np.float32)
        self._products = np.empty((frequencies, rows * width + APART), np.float32)
        self._tables = steps((rows, channels)), steps((taps, self._slice)), steps((rows, width))
        left_rows, offsets, result_rows = map(address, self._tables)
        self._arguments = (
            address(self._left), self._left.shape[1], left_rows, offsets, taps, channels, address(right),
            right[0].size, address(self._products), self._products.shape[1], result_rows,
        )  # fmt: skip
        self._panels = panels

    @abstractmethod
    def work(self, task: tuple[int, int]) -> None:
        """A row of tiles, from some slice on."""

    def _multiplying(self, layers: int) -> tuple[int, ...]:
        """What a kernel is told to multiply so many layers of tiles."""
        return (*self._arguments, layers * self._tiles, self._panels, FREQUENCIES)

    def _storing(self, row: int, z: int, slices: int) -> tuple[int, ...]:
        """What a kernel is told to bring products to so many slices of the result, from z on."""
        depth, height, columns, width = self._result.shape
        y = row * TILE
        rows = min(TILE, height - y)
        target = address(self._result) + FLOAT * (z * height + y) * columns * width
        moments = self._moments.of(row * depth + z, slices, rows * columns)
        return (
            address(self._products), self._products.shape[1], target, columns * width, self._tiles, width, rows,
            columns, slices, height * columns * width, moments,
        )  # fmt: skip


class _PlanarRow(_TileRow):
    """Of planar tiles, a slice of which is a layer."""

    def __init__(
        self, kernels: Kernels, right: Floats, parts: Parts, result: Floats, moments: Moments, chunk: int
    ) -> None:
        self._taps = right.shape[2]
        tiles = -(-result.shape[2] // TILE)
        at_once = max(self._taps - 1, min(chunk, ROWS_AT_ONCE // tiles), 1)
        super().__init__(kernels, right, parts, result, moments, chunk, at_once=at_once, kept=self._taps - 1, slices=1)

    def work(self, task: tuple[int, int]) -> None:
        row, first = task
        stop = min(first + self._chunk, len(self._result))
        kept, slices = self._taps - 1, self._at_once
        for z in range(first, stop, slices):
            count = min(slices, stop - z)
            if z == first:
                self._transform(row, z - self._taps // 2, 0, kept + count)
            else:
                self._left[:, : kept * self._slice] = self._left[:, slices * self._slice :][:, : kept * self._slice]
                self._transform(row, z + self._taps // 2, kept, count)
            self._kernels.multiply(*self._multiplying(count))
            self._kernels.store_frequencies(*self._storing(row, z, count))

    def _transform(self, row: int, z: int, slot: int, slices: int) -> None:
        """Slices of the input from z on to frequencies, from `slot` on."""
        target = address(self._left) + FLOAT * slot * self._slice
        self._block.load_frequencies(z, slices, row * TILE - 1, target, self._left.shape[1], self._tiles)


class _CubicRow(_TileRow):
    """Of tiles of four slices."""

    def __init__(
        self, kernels: Kernels, right: Floats, parts: Parts, result: Floats, moments: Moments, chunk: int
    ) -> None:
        tiles = -(-result.shape[2] // TILE)
        at_once = max(1, min(chunk // TILE, CUBES_AT_ONCE // tiles))
        super().__init__(
            kernels, right, parts, result, moments, chunk, at_once=at_once, kept=0, slices=at_once * WINDOW
        )

    def work(self, task: tuple[int, int]) -> None:
        row, first = task
        depth = len(self._result)
        stop, layers = min(first + self._chunk, depth), self._at_once
        left = address(self._left), self._left.shape[1]
        self._kernels.convolve_cubes(
            first, stop, layers, *self._block.loading(first, layers, row * TILE - 1, *left, self._tiles),
            *self._multiplying(layers), *self._storing(row, 0, depth),
        )  # fmt: skip
