"""Windows over the network's grid: which, in what order blended, and how the logits come together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, combinations, count, islice, product
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F

from flareseg.model.plan import WindowRule
from flareseg.progress import Progress
from flareseg.volume import Box, Index

LONGEST = 1.25
LARGEST = 1.4
"""How much longer along an axis, and how much larger, a fitted window may be than the plan's: what bounds the memory
and the time of one forward pass, after which a cancel is seen."""
SHORTEST = 0.75
"""How much shorter along an axis. A network that learnt from whole patches normalises over the air around a thin slab;
without it organs are drawn worse, see `make benchmark-slabs`."""


class Forward(Protocol):
    """A network ready to run: (n, 1, z, y, x) float32 to (n, classes, z, y, x) float, both on `device`.

    What it gives may be changed by its caller, and is overwritten by its next call.
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def classes(self) -> int: ...

    def __call__(self, windows: torch.Tensor) -> torch.Tensor: ...


@runtime_checkable
class AddsWindows(Protocol):
    """A network on the CPU that can add what it gives to that of other windows, which saves the memory for it."""

    def add_weighted(self, window: torch.Tensor, weights_zyx: Sequence[torch.Tensor], total: torch.Tensor) -> None: ...


def window_shape(shape_zyx: Index, patch_zyx: Index, stride_zyx: Index, step: float, *, rule: WindowRule) -> Index:
    """The size of the windows for a volume.

    "fixed" is the patch. "fitted" takes few windows along every axis and makes them just long enough, so that none runs
    over padding only: of the sizes that are 0.75 to 1.25 times as long and at most 1.4 times as large as the patch, the
    one that leaves the network least to compute.

    Args:
        stride_zyx: sizes are multiples of it, because the network halves them that often.
    """
    if rule == "fixed":
        return patch_zyx
    choices = [
        _fitted(size, patch, stride, step) for size, patch, stride in zip(shape_zyx, patch_zyx, stride_zyx, strict=True)
    ]
    most = LARGEST * math.prod(patch_zyx)
    small_enough = [window for window in product(*choices) if math.prod(window) <= most]

    def computed(window: tuple[int, ...]) -> int:
        counts = (len(window_starts(size, length, step)) for size, length in zip(shape_zyx, window, strict=True))
        return math.prod(counts) * math.prod(window)

    # of equally good ones the largest, which sees most around each voxel
    z, y, x = min(small_enough or [patch_zyx], key=lambda window: (computed(window), -math.prod(window)))
    return z, y, x


def _fitted(size: int, patch: int, stride: int, step: float) -> list[int]:
    """Lengths that cover an axis with the fewest windows that are not too long, and with one window more."""
    longest = math.floor(patch * LONGEST / stride) * stride
    # Two strides at least, too, so that the network's deepest stage has something to normalise over.
    least = max(min(2 * stride, patch), math.ceil(patch * SHORTEST / stride) * stride)
    enough = (max(least, math.ceil(size / (1 + others * step) / stride) * stride) for others in count(0))
    return list(islice((length for length in enough if length <= longest), 2))


def window_starts(size: int, window: int, step: float) -> list[int]:
    """Where windows begin along one axis: evenly spread, at most `step` windows apart, the last one flush with the end
    (the rule of nnU-Net's predictor)."""
    if size <= window:
        return [0]
    count = math.ceil((size - window) / (window * step)) + 1
    apart = (size - window) / (count - 1)  # divided first, as there: the other order rounds other halves
    return [round(apart * i) for i in range(count)]


def blend_weights(size: int, window: int, starts: Sequence[int]) -> list[torch.Tensor]:
    """(window) float32 weights of every window along one axis; at each voxel they add up to 1.

    A Gaussian of one eighth of the window, which trusts its middle most. It is the same along all axes, so that a
    window's weights in space are the product of those along z, y and x; and because they are shares of one, logits can
    be added up in half precision, where the weight of a window's corner alone (4e-11) is zero.
    """
    places = torch.arange(window, dtype=torch.float64) - window // 2
    importance = torch.exp(-0.5 * (places * (8 / window)) ** 2)
    total = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        total[start : start + window] += importance
    return [(importance / total[start : start + window]).float() for start in starts]


def predict(
    image: torch.Tensor,
    network: Forward,
    window_zyx: Index,
    *,
    step: float,
    mirror_axes: Sequence[int] = (),
    sides: Sequence[int] | None = None,
    padding: float = 0.0,
    gather_on: torch.device | None = None,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Logits of the whole image.

    Where windows overlap, their logits are averaged by a Gaussian that trusts the middle of a window most. An image
    that fits one window goes through the network once, as it is. Smaller images are padded evenly on both sides.

    Args:
        image: (z, y, x) float32, normalised, on the network's device.
        window_zyx: from `window_shape`.
        step: distance of neighbouring windows as a fraction of a window, at most.
        mirror_axes: average over all flips of these axes (0 z, 1 y, 2 x).
        sides: flip x too, and put the classes of such a flip in this order, which swaps left and right back.
        padding: normalised value around an image that is smaller than a window; nnU-Net's is 0.
        gather_on: where the logits are put together; the network's device unless given.

    Returns:
        (classes, z, y, x) on `gather_on`; in half precision where there are several windows, because the logits of a
        large CT are the largest array of all.
    """
    padded, inner = pad_to_window(image, window_zyx, padding)
    sizes: Index = (padded.shape[0], padded.shape[1], padded.shape[2])
    starts = [window_starts(size, window, step) for size, window in zip(sizes, window_zyx, strict=True)]
    flips = flips_of((*mirror_axes, 2) if sides else mirror_axes)
    gather_on = gather_on or image.device
    total = math.prod(len(places) for places in starts) * len(flips)
    done = 0

    def count_one() -> None:
        nonlocal done
        done += 1
        if progress:
            progress.update(done / total)

    def forward(box: Box) -> torch.Tensor:
        window = padded[box][None, None]
        result: torch.Tensor | None = None
        for flip in flips:
            if not flip:
                output = network(window.contiguous())
                output = output.clone() if len(flips) > 1 else output
            else:
                dims = [axis + 2 for axis in flip]
                output = network(window.flip(dims).contiguous()).flip(dims)
                if sides and 2 in flip:
                    output = output[:, list(sides)]
            result = output if result is None else result.add_(output)
            count_one()
        assert result is not None
        return result[0].div_(len(flips)) if len(flips) > 1 else result[0]

    if all(len(places) == 1 for places in starts):
        box = _window_box((0, 0, 0), window_zyx)
        return _part(forward(box), inner).to(gather_on, copy=True)
    logits = torch.zeros((network.classes, *sizes), dtype=torch.float16, device=gather_on)
    weights = [
        [share.to(image.device) for share in blend_weights(size, window, places)]
        for size, window, places in zip(sizes, window_zyx, starts, strict=True)
    ]
    for number in product(*(range(len(places)) for places in starts)):
        box = _window_box([places[i] for places, i in zip(starts, number, strict=True)], window_zyx)
        lines = [shares[i] for shares, i in zip(weights, number, strict=True)]
        if len(flips) == 1 and gather_on.type == "cpu" and isinstance(network, AddsWindows):
            network.add_weighted(padded[box], lines, _part(logits, box))
            count_one()
        else:
            _add(forward(box), lines, _part(logits, box))
    return _part(logits, inner)


def _add(values: torch.Tensor, lines: Sequence[torch.Tensor], total: torch.Tensor) -> None:
    """Add (classes, z, y, x) values, times the weights along z, y and x; the values are changed."""
    z, y, x = lines
    weight = z[:, None, None] * y[:, None] * x
    # class by class: what is multiplied stays in the processor's cache, and nothing large is made in passing
    for total_of_class, values_of_class in zip(total, values, strict=True):
        total_of_class.add_(values_of_class.mul_(weight).to(total.device, total.dtype))


def flips_of(mirror_axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every combination of axes, none of them first."""
    return list(chain.from_iterable(combinations(mirror_axes, count) for count in range(len(mirror_axes) + 1)))


def pad_to_window(image: torch.Tensor, window_zyx: Index, value: float) -> tuple[torch.Tensor, Box]:
    """(z, y, x) padded evenly to at least a window, with the part that is the image."""
    missing = [max(0, window - size) for window, size in zip(window_zyx, image.shape, strict=True)]
    before = [amount // 2 for amount in missing]
    sides = [(b, m - b) for b, m in zip(before, missing, strict=True)]
    padded = F.pad(image, [amount for side in reversed(sides) for amount in side], value=value)
    z, y, x = (slice(b, b + size) for b, size in zip(before, image.shape, strict=True))
    return padded, (z, y, x)


def _window_box(corner: Sequence[int], window_zyx: Index) -> Box:
    z, y, x = (slice(start, start + size) for start, size in zip(corner, window_zyx, strict=True))
    return z, y, x


def _part(logits: torch.Tensor, box: Box) -> torch.Tensor:
    """A view of one box of (classes, z, y, x) logits."""
    return logits[:, box[0], box[1], box[2]]


def halve_window(window_zyx: Index, stride_zyx: Index) -> Index | None:
    """The window with its longest axis halved, to whole strides; None when it cannot become smaller."""
    axis = max(range(3), key=lambda i: window_zyx[i] / stride_zyx[i])
    window = list(window_zyx)
    window[axis] = max(2, window[axis] // 2 // stride_zyx[axis]) * stride_zyx[axis]
    return (window[0], window[1], window[2]) if window[axis] < window_zyx[axis] else None
