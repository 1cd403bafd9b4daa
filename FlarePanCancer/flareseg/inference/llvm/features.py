"""What one layer hands to the next, and how it comes into the small blocks that are worked on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.inference.llvm.kernels import Kernels
from flareseg.volume import Index

Item = TypeVar("Item")
Floats = NDArray[np.float32]
Offsets = NDArray[np.int64]
FLOAT, HALF = 4, 2
"""Bytes."""


@dataclass(frozen=True)
class Features:
    """Values before the norm and the leaky ReLU that come after them, which whoever reads them applies.

    Attributes:
        values: (z, y, x, channels and up to a panel of zeros more), in one piece; or (z, y, x, 1), an image.
        channels: how many there are.
        scale, shift: by what values are multiplied, and what is added then; of every channel in `values`.
        slope: of negative results; 1 where nothing is done to them.
        moments: (2, channels in `values`) mean and variance over all voxels, where they are known.
    """

    values: Floats
    channels: int
    scale: Floats
    shift: Floats
    slope: float = 1.0
    moments: NDArray[np.float64] | None = None

    @classmethod
    def plain(cls, values: Floats, channels: int, moments: NDArray[np.float64] | None = None) -> Features:
        """Values to be read as they are."""
        width = values.shape[-1]
        return cls(values, channels, np.ones(width, np.float32), np.zeros(width, np.float32), moments=moments)

    @property
    def shape_zyx(self) -> Index:
        z, y, x, _ = self.values.shape
        return z, y, x

    @property
    def is_image(self) -> bool:
        """Whether a voxel is one number."""
        return bool(self.values.shape[-1] == 1)

    def width(self, lanes: int) -> int:
        """Its channels in a block."""
        return max(lanes, int(self.values.shape[-1]))


Parts = tuple[Features, ...]
"""Of the same shape, side by side in channels."""


def total_width(parts: Parts, lanes: int) -> int:
    """Channels of a block."""
    return sum(part.width(lanes) for part in parts)


class Memory:
    """Large arrays, each used again when nobody has it any more: new memory costs the system as much time as a layer
    takes to fill it."""

    def __init__(self) -> None:
        self._free: dict[int, list[Floats]] = defaultdict(list)

    def array(self, *shape: int) -> Floats:
        """Of any content."""
        size = int(np.prod(shape))
        memory: Floats = self._free[size].pop() if self._free[size] else torch.empty(size).numpy()  # in usual pages
        view = memory.reshape(shape)
        finalize(view, self._free[size].append, memory)
        return view

    def release(self) -> None:
        """Give back what nobody has."""
        self._free.clear()


class Block:
    """A part of a layer's input as it is worked on: with norm and leaky ReLU, and with zeros around the image.

    Args:
        kernels: machine code.
        parts: the input.
        slices, rows, columns: of the block.
        left: how many of its columns lie before the image's first.

    Attributes:
        channels: of a voxel.
        address: of its values, (slices, rows, columns, channels).
        row, slice: floats from one to the next.
    """

    def __init__(self, kernels: Kernels, parts: Parts, slices: int, rows: int, columns: int, left: int) -> None:
        self.channels = total_width(parts, kernels.lanes)
        self.row = columns * self.channels
        self.slice = rows * self.row
        self._values: Floats = np.zeros((slices, rows, columns, self.channels), np.float32)
        self.address = address(self._values)
        self._kernels, self._parts = kernels, parts
        fields = [[*map(address, (p.values, p.scale, p.shift)), p.values.shape[3]] for p in parts]
        self._table, self._slopes = np.array(fields, np.int64), np.array([p.slope for p in parts], np.float32)
        self._source = (address(self._table), address(self._slopes), len(parts), *parts[0].shape_zyx)
        self._target = self.address + FLOAT * left * self.channels

    def load(self, z: int, y: int) -> None:
        """Fill it from slice z and row y on; both may lie outside."""
        self._kernels.load(*self._arguments(z, len(self._values), y))

    def load_frequencies(self, z: int, slices: int, y: int, result: int, frequency_step: int, tiles: int) -> None:
        """Load so many slices, one after the other, and bring each to frequencies, at the address `result`."""
        self._kernels.load_frequencies(*self.loading(z, slices, y, result, frequency_step, tiles))

    def loading(self, z: int, slices: int, y: int, result: int, frequency_step: int, tiles: int) -> tuple[int, ...]:
        """What a kernel is told to load some slices and bring them to frequencies, at the address `result`."""
        return (*self._arguments(z, slices, y), self.address, result, frequency_step, tiles)

    def _arguments(self, z: int, slices: int, y: int) -> tuple[int, ...]:
        rows = self._values.shape[1]
        return (*self._source, self._target, z, slices, self.slice, y, rows, self.row, self.channels)


class Moments:
    """Mean and variance of channels, put together of those of pieces.

    Args:
        pieces: how many there are.
        width: channels.
    """

    def __init__(self, kernels: Kernels, pieces: int, width: int) -> None:
        self._kernels = kernels
        self._counts = np.zeros(pieces)
        self._values = np.zeros((pieces, 2, width), np.float32)
        self._address, self._step = address(self._values), 2 * width

    def add(self, piece: int, source: int, voxels: int) -> None:
        """So many voxels from an address on."""
        self._kernels.moments(source, self.of(piece, 1, voxels), voxels, self._values.shape[2])

    def of(self, first: int, pieces: int, voxels: int) -> int:
        """The address for those of some pieces of as many voxels each."""
        self._counts[first : first + pieces] = voxels
        return self._address + FLOAT * first * self._step

    def combined(self) -> NDArray[np.float64]:
        """(2, width): mean and variance."""
        counts = self._counts[:, None]
        means, squares = self._values[:, 0].astype(np.float64), self._values[:, 1].astype(np.float64)
        mean = (counts * means).sum(0) / counts.sum()
        return np.stack((mean, (squares + counts * (means - mean) ** 2).sum(0) / counts.sum()))


def address(array: NDArray[Any]) -> int:
    """Of the first element."""
    return int(array.__array_interface__["data"][0])


def steps(*axes: tuple[int, int]) -> Offsets:
    """Offsets of all places of a grid, in floats, the last axis first; of each axis its size and its step."""
    offsets = np.zeros(1, np.int64)
    for size, step in axes:
        offsets = (offsets[:, None] + np.arange(size) * step).reshape(-1)
    return np.ascontiguousarray(offsets, np.int64)


def work_off(tasks: Iterable[Item], worker: Callable[[], Callable[[Item], None]], threads: int) -> None:
    """Do every task once, on as many threads; each has a worker of its own, which keeps its memory between tasks."""
    queue = iter(list(tasks))

    def run() -> None:
        work = worker()
        for task in queue:
            work(task)

    if threads == 1:
        run()
        return
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(run) for _ in range(threads)]:
            future.result()


def packed(weight: Floats, parts: Sequence[tuple[int, int]], panel: int) -> Floats:
    """Weights as `Kernels.multiply` reads them: (panels, taps, inputs of a block, outputs of a panel).

    Args:
        weight: (outputs, inputs, taps).
        parts: of the input, each one's channels and its channels in a block.
        panel: outputs; the last one is filled up with zeros, and so are the inputs of each part.
    """
    outputs, _, taps = weight.shape
    filled = np.zeros((-(-outputs // panel), taps, sum(width for _, width in parts), panel), np.float32)
    for number, columns in enumerate(filled):
        some = weight[number * panel : (number + 1) * panel].transpose(2, 1, 0)
        there = here = 0
        for channels, width in parts:
            columns[:, there : there + channels, : some.shape[2]] = some[:, here : here + channels]
            there, here = there + width, here + channels
    return filled
