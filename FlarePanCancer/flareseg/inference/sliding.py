"""Windows over the network's grid: which, in what order blended, and how the logits come together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, combinations, product
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from flareseg.model.plan import WindowRule
from flareseg.progress import Progress
from flareseg.volume import Box, Index

FITTED_GROWTH = 1.25
"""How much longer than the plan's an axis of a fitted window may be."""


class Forward(Protocol):
    """A network ready to run: (n, 1, z, y, x) float32 to (n, classes, z, y, x) float, both on `device`."""

    @property
    def device(self) -> torch.device: ...

    @property
    def classes(self) -> int: ...

    def __call__(self, windows: torch.Tensor) -> torch.Tensor: ...


def window_shape(shape_zyx: Index, patch_zyx: Index, stride_zyx: Index, step: float, rule: WindowRule) -> Index:
    """The size of the windows for a volume.

    "fixed" is the patch. "fitted" takes along every axis as few windows as cover it with the wanted overlap, none
    longer than 1.25 patches, and makes them just long enough: no window runs over padding only.

    Args:
        stride_zyx: sizes are multiples of it, because the network halves them that often.
    """
    if rule == "fixed":
        return patch_zyx
    z, y, x = (
        _fitted(size, patch, stride, step) for size, patch, stride in zip(shape_zyx, patch_zyx, stride_zyx, strict=True)
    )
    return z, y, x


def _fitted(size: int, patch: int, stride: int, step: float) -> int:
    longest = max(stride, math.floor(patch * FITTED_GROWTH / stride) * stride)
    for count in range(1, size + 1):
        length = math.ceil(size / (1 + (count - 1) * step) / stride) * stride
        if length <= longest:
            return length
    return stride


def window_starts(size: int, window: int, step: float) -> list[int]:
    """Where windows begin along one axis: evenly spread, at most `step` windows apart, the last one flush with the end
    (the rule of nnU-Net's predictor)."""
    if size <= window:
        return [0]
    count = math.ceil((size - window) / (window * step)) + 1
    return [round(i * (size - window) / (count - 1)) for i in range(count)]


@lru_cache(maxsize=8)
def gaussian_weights(window_zyx: Index) -> torch.Tensor:
    """(z, y, x) float32 importance of a window's voxels: a Gaussian of one eighth of its size, at most 1, never 0."""
    peak = np.zeros(window_zyx)
    peak[tuple(size // 2 for size in window_zyx)] = 1
    weights = ndimage.gaussian_filter(peak, [size / 8 for size in window_zyx], mode="constant")
    weights /= weights.max()
    weights[weights == 0] = weights[weights > 0].min()
    return torch.from_numpy(weights.astype(np.float32))


def predict(
    image: torch.Tensor,
    network: Forward,
    window_zyx: Index,
    *,
    step: float,
    mirror_axes: Sequence[int] = (),
    progress: Progress | None = None,
) -> torch.Tensor:
    """Logits of the whole image.

    Where windows overlap, their logits are averaged by a Gaussian that trusts the middle of a window most. An image
    that fits one window goes through the network once, as it is. Smaller images are padded with 0 after normalisation,
    evenly on both sides, as nnU-Net does.

    Args:
        image: (z, y, x) float32, normalised, on the network's device.
        window_zyx: from `window_shape`.
        step: distance of neighbouring windows as a fraction of a window, at most.
        mirror_axes: average over all flips of these axes (0 z, 1 y, 2 x).

    Returns:
        (classes, z, y, x) on the network's device; half precision on a GPU.
    """
    padded, inner = _padded(image, window_zyx)
    boxes = _boxes(padded.shape, window_zyx, step)
    flips = list(chain.from_iterable(combinations(mirror_axes, count) for count in range(len(mirror_axes) + 1)))
    total = len(boxes) * len(flips)
    done = 0

    def forward(box: Box) -> torch.Tensor:
        nonlocal done
        window = padded[box][None, None]
        result: torch.Tensor | None = None
        for flip in flips:
            dims = [axis + 2 for axis in flip]
            output = network(window.flip(dims).contiguous()).flip(dims)
            result = output if result is None else result.add_(output)
            done += 1
            if progress:
                progress.update(done / total)
        assert result is not None
        return result[0].div_(len(flips)) if len(flips) > 1 else result[0]

    if len(boxes) == 1:
        return _part(forward(boxes[0]), inner)
    # Half precision halves what is the largest array on a GPU; the CPU adds in single precision faster.
    kind = torch.float16 if image.device.type == "cuda" else torch.float32
    logits = torch.zeros((network.classes, *padded.shape), dtype=kind, device=image.device)
    weights = gaussian_weights(window_zyx).to(image.device)
    total_weight = torch.zeros(padded.shape, device=image.device)
    for box in boxes:
        output = forward(box)
        _part(logits, box).add_((output * weights).to(kind))
        total_weight[box] += weights
    logits /= total_weight.to(kind)
    return _part(logits, inner)


def _part(logits: torch.Tensor, box: Box) -> torch.Tensor:
    """A view of all classes inside `box`."""
    z, y, x = box
    return logits[:, z, y, x]


def _padded(image: torch.Tensor, window_zyx: Index) -> tuple[torch.Tensor, Box]:
    missing = [max(0, window - size) for window, size in zip(window_zyx, image.shape, strict=True)]
    before = [amount // 2 for amount in missing]
    sides = [(b, m - b) for b, m in zip(before, missing, strict=True)]
    padded = F.pad(image, [amount for side in reversed(sides) for amount in side])
    z, y, x = (slice(b, b + size) for b, size in zip(before, image.shape, strict=True))
    return padded, (z, y, x)


def _boxes(shape_zyx: Sequence[int], window_zyx: Index, step: float) -> list[Box]:
    starts = [window_starts(size, window, step) for size, window in zip(shape_zyx, window_zyx, strict=True)]
    return [_box(corner, window_zyx) for corner in product(*starts)]


def _box(corner: Sequence[int], window_zyx: Index) -> Box:
    z, y, x = (slice(start, start + size) for start, size in zip(corner, window_zyx, strict=True))
    return z, y, x


def smaller_windows(window_zyx: Index, stride_zyx: Index) -> Iterator[Index]:
    """Ever smaller windows to try when memory runs out: the longest axis halved, twice at most, to whole strides."""
    window = list(window_zyx)
    for _ in range(2):
        axis = max(range(3), key=lambda i: window[i] / stride_zyx[i])
        halved = max(1, window[axis] // 2 // stride_zyx[axis]) * stride_zyx[axis]
        if halved == window[axis]:
            return
        window[axis] = halved
        yield window[0], window[1], window[2]
