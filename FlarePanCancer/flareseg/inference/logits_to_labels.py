"""From the network's logits to labels on the CT's grid, without ever holding all classes on that grid.

Linear interpolation lies between the samples around it. So where the samples at the corners of a cell agree on the
class that wins, it wins everywhere in the cell and nothing need be interpolated; and in the other cells, at the borders
between organs, only those classes can win that reach the lowest corner of every other class. That is exact, not an
approximation, and leaves a few per cent of the work. In slices that are full of borders, as those of an unsure network,
every class is interpolated everywhere instead, which gives the same labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.inference.head import LazyLogits, Logits, grid_of, slabs_of
from flareseg.inference.linear_axis import Axis
from flareseg.progress import Progress, part_of
from flareseg.volume import Index

Item = TypeVar("Item")
Report = Callable[[float], None]
"""Called with how far a step is, from 0 to 1; may raise `Cancelled`."""
Rows = tuple[int, slice]
"""A slice of the CT's grid and some of its rows."""

CELL_COST, OUTPUT_COST = 100, 10
"""What an undecided cell and each output in it take, if a class at an output of a crowded slice takes 1 (measured)."""
BATCH_VALUES = {"cpu": 2**17, "cuda": 2**24}
"""Worked on at a time: enough to keep the processor busy, few enough to stay in a CPU's cache."""
ROWS_AT_ONCE = 4
"""Rows of a crowded slice take so many times as much: every step of the work on them is simple and long."""
BITS = 31
"""Classes to a word of candidates: the sign of an int32 is left alone."""
ROUNDING = 1e-5
"""Relative room for rounding when classes are ruled out: the result is that of trying every class."""


@dataclass(frozen=True)
class _Interpolation:
    """Of which logits winners are found, and where they are written.

    Attributes:
        labels: (z, y, x) uint8 on the CT's grid.
        logits: (classes, z, y, x) on the network's grid.
        axes: from the one to the other.
        rounded: see `logits_to_labels`.
    """

    labels: torch.Tensor
    logits: torch.Tensor
    axes: Sequence[Axis]
    rounded: bool


def _silent(_: float) -> None:
    pass


def logits_to_labels(
    logits: torch.Tensor,
    out_shape_zyx: Index,
    nearest: int | None,
    progress: Progress | None = None,
    *,
    rounded: bool = False,
) -> NDArray[np.uint8]:
    """The class that wins at every voxel when every class is interpolated linearly to the CT's grid.

    Args:
        logits: (classes, z, y, x) on the network's grid, any float type and device; at most 256 classes.
        out_shape_zyx: of the CT's grid, which covers the same space.
        nearest: the axis along which the nearest slice is taken instead (see `nearest_axis`), or None.
        rounded: compare what is interpolated in half precision, as nnU-Net does: then classes whose values differ by
            less are equal, and the lowest wins. `logits` must be of half precision themselves.

    Returns:
        (z, y, x) uint8 class numbers; the lowest of classes with equal values.
    """
    axes = _axes(logits, out_shape_zyx, nearest)
    return _labels(logits, axes, progress, rounded=rounded).cpu().numpy()


def lazy_logits_to_labels(
    logits: LazyLogits, out_shape_zyx: Index, nearest: int | None, progress: Progress | None = None
) -> NDArray[np.uint8]:
    """The same of logits that are computed for some slices at a time; arguments and result as there."""
    axes = _axes(logits, out_shape_zyx, nearest)
    labels = torch.empty(out_shape_zyx, dtype=torch.uint8)
    cells = range(len(axes[0].low))
    starts = cells[:: logits.slices_at_once]
    for number, start in enumerate(starts):
        part = axes[0].part(slice(start, start + logits.slices_at_once))
        share = part_of(progress, number, len(starts))
        labels[part.outputs] = _labels(logits.slices(part.samples), [part.axis, *axes[1:]], share).cpu()
    return labels.numpy()


def _axes(logits: Logits, out_shape_zyx: Index, nearest: int | None) -> list[Axis]:
    return [
        Axis.of(size_in, size_out, nearest == axis, logits.device)
        for axis, (size_in, size_out) in enumerate(zip(grid_of(logits), out_shape_zyx, strict=True))
    ]


def _labels(
    logits: torch.Tensor, axes: Sequence[Axis], progress: Progress | None, *, rounded: bool = False
) -> torch.Tensor:
    """(z, y, x) uint8 class numbers at the outputs of all axes."""
    winners = winning_class(logits, _between(0.0, 0.1, progress))
    labels = winners
    # x first: single voxels are copied while the array is small, whole rows and slices when it has grown
    for number in (2, 1, 0):
        labels = labels.index_select(number, axes[number].low[axes[number].cell_of])
    # Rounding can make equal what is not; but a value never rounds beyond what is rounded already, as all corners are.
    candidates = _candidates(logits, _between(0.1, 0.3, progress)) if rounded else None
    undecided = _undecided(winners, axes) if candidates is None else _contested(candidates, axes)
    crowded = _crowded(undecided, axes, len(logits))
    cells = undecided.logical_and_(~crowded[:, None, None]).nonzero()
    if candidates is None and len(cells):
        candidates = _candidates(logits, _between(0.1, 0.3, progress))
    slices = [z for cell in crowded.nonzero().flatten().tolist() for z in axes[0].outputs_of(cell)]
    begun = 0.1 if candidates is None else 0.3
    done = begun + (1 - begun) * len(slices) / len(axes[0].cell_of)
    work = _Interpolation(labels, logits, axes, rounded)
    rows = rows_of(slices, axes, len(logits), ROWS_AT_ONCE * _values_at_once(logits))
    _each(rows, partial(_decide_rows, work), logits.device, _between(begun, done, progress))
    if candidates is not None:
        outputs = int(np.prod([len(axis.members) for axis in axes]))
        batches = torch.split(cells, max(1, _values_at_once(logits) // outputs))
        _each(batches, partial(_decide_cells, work, candidates), logits.device, _between(done, 1.0, progress))
    return labels


def _crowded(undecided: torch.Tensor, axes: Sequence[Axis], classes: int) -> torch.Tensor:
    """(cells along z) whether so many of (z, y, x) cells are undecided that interpolating everything is faster."""
    cells = undecided[0].numel()
    outputs = axes[0].cell_of.bincount() * len(axes[1].cell_of) * len(axes[2].cell_of)
    cost_of_each = CELL_COST + OUTPUT_COST * outputs / cells
    return undecided.sum((1, 2)) * cost_of_each > classes * outputs


def winning_class(logits: torch.Tensor, report: Report = _silent) -> torch.Tensor:
    """(classes, z, y, x) to uint8 (z, y, x): the class with the highest value, the first of equals.

    A running maximum, because an argmax over the class axis walks memory against its order and is several times slower.
    """
    label = torch.zeros(logits.shape[1:], dtype=torch.uint8, device=logits.device)

    def work(slab: slice) -> None:
        best = logits[0, slab].clone()
        for number in range(1, len(logits)):
            value = logits[number, slab]
            label[slab].masked_fill_(value > best, number)
            torch.maximum(best, value, out=best)

    _each(_slabs(logits), work, logits.device, report)
    return label


def winners(logits: Logits) -> torch.Tensor:
    """`winning_class` of logits that may not be at hand."""
    if isinstance(logits, torch.Tensor):
        return winning_class(logits)
    if logits.device.type != "cpu":
        return torch.cat([winning_class(slab) for _, slab in slabs_of(logits, logits.slices_at_once)])
    labels = torch.empty(grid_of(logits), dtype=torch.uint8)

    def work(number: int) -> None:
        labels[number] = logits.winners(slice(number, number + 1))[0]

    _each(range(len(labels)), work, logits.device, _silent)
    return labels


def _undecided(winners: torch.Tensor, axes: Sequence[Axis]) -> torch.Tensor:
    """(z, y, x) whether a cell's corners do not all have the same winner."""
    lowest = highest = winners
    for number, axis in enumerate(axes):
        above = lowest.index_select(number, axis.high)
        lowest = lowest.index_select(number, axis.low)
        torch.minimum(lowest, above, out=lowest)
        above = highest.index_select(number, axis.high)
        highest = highest.index_select(number, axis.low)
        torch.maximum(highest, above, out=highest)
    return lowest != highest


def _contested(candidates: torch.Tensor, axes: Sequence[Axis]) -> torch.Tensor:
    """(z, y, x) whether more than one class may win in a cell."""
    several = torch.zeros(candidates.shape[1:], dtype=torch.bool, device=candidates.device)
    count = torch.zeros(several.shape, dtype=torch.uint8, device=candidates.device)
    for word in candidates:
        several |= (word & (word - 1)) != 0
        count += word != 0
    several |= count > 1
    for number, axis in enumerate(axes):
        several = several.index_select(number, axis.low)
    return several


def _candidates(logits: torch.Tensor, report: Report) -> torch.Tensor:
    """(words, z, y, x) int32: bit k of word w is set where class 31 w + k may win in the cell between this sample and
    the next ones."""
    words = -(-len(logits) // BITS)
    result = torch.zeros((words, *logits.shape[1:]), dtype=torch.int32, device=logits.device)

    def work(slab: slice) -> None:
        # one slice more than the slab, because cells reach to the next one
        values = logits[:, slab.start : slab.stop + 1].float()
        floor = _over_cells(values[0], torch.minimum)
        for value in values[1:]:
            torch.maximum(floor, _over_cells(value, torch.minimum), out=floor)
        floor -= ROUNDING * floor.abs()
        for number, value in enumerate(values):
            possible = _over_cells(value, torch.maximum) >= floor
            word, bit = divmod(number, BITS)
            result[word, slab] |= possible[: slab.stop - slab.start].int() << bit

    _each(_slabs(logits), work, logits.device, report)
    return result


def _over_cells(values: torch.Tensor, pick: Callable[..., torch.Tensor]) -> torch.Tensor:
    """(z, y, x) the lowest or highest of each sample and its next neighbours along all axes."""
    for axis in range(3):
        rest = values.shape[axis] - 1
        result = values.clone()
        pick(values.narrow(axis, 0, rest), values.narrow(axis, 1, rest), out=result.narrow(axis, 0, rest))
        values = result
    return values


def _decide_cells(work: _Interpolation, candidates: torch.Tensor, cells: torch.Tensor) -> None:
    """Interpolate the possible classes of (n, 3) cells and write the winners.

    Cells are the last axis of every array, so that one operation runs over many; those with most classes come first,
    so that those which still have a class to try are always the first ones.
    """
    logits, axes = work.logits, work.axes
    low = [axis.low[cell] for axis, cell in zip(axes, cells.unbind(1), strict=True)]
    numbers = torch.arange(len(logits), dtype=torch.int32, device=logits.device)
    words = candidates[:, low[0], low[1], low[2]].T  # (n, words)
    possible = (words[:, (numbers // BITS).long()] >> (numbers % BITS)) & 1  # (n, classes)
    order = possible.sum(1).argsort(descending=True)
    cells, possible = cells[order], possible[order]
    ranked = possible.argsort(dim=1, descending=True, stable=True).T  # (classes, n): the possible ones first, ascending
    open_cells = (possible.sum(1)[:, None] > numbers).sum(0).tolist()
    z, y, x = cells.unbind(1)
    weights = axes[0].weight[:, z], axes[1].weight[:, y], axes[2].weight[:, x]
    sides = [torch.stack((axis.low[cell], axis.high[cell])) for axis, cell in zip(axes, (z, y, x), strict=True)]
    corners = _flat_index(sides, logits.stride()[1:])
    # the logits may be a part of a larger array, which is read where it lies
    reach = sum((size - 1) * stride for size, stride in zip(logits.shape, logits.stride(), strict=True)) + 1
    flat = logits.as_strided((reach,), (1,))
    best = torch.full((*(len(weight) for weight in weights), len(cells)), -torch.inf, device=logits.device)
    winner = torch.zeros(best.shape, dtype=torch.uint8, device=logits.device)
    for number, count in zip(ranked, open_cells, strict=True):
        if not count:
            break
        number = number[:count]
        samples = flat.take(corners[..., :count] + number * logits.stride(0)).float()
        value = _interpolated(samples, *(weight[:, :count] for weight in weights))
        if work.rounded:
            value = value.half().float()
        highest, holder = best[..., :count], winner[..., :count]
        torch.where(value > highest, number.to(torch.uint8), holder, out=holder)
        torch.maximum(highest, value, out=highest)
    members = [axis.members[:, cell] for axis, cell in zip(axes, (z, y, x), strict=True)]
    work.labels.view(-1)[_flat_index(members, work.labels.stride())] = winner


def _interpolated(samples: torch.Tensor, z: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(2, 2, 2, n) corner values to (outputs along z, y, x, n), given the weights of the upper sides.

    Written as a sum of products that never falls when a corner rises, in floating point too: see the module's reason.
    """
    z, y, x = z[:, None, None], y[:, None], x
    planes = samples[:1] * (1 - z) + samples[1:] * z
    lines = planes[:, :1] * (1 - y) + planes[:, 1:] * y
    return lines[:, :, :1] * (1 - x) + lines[:, :, 1:] * x


def _flat_index(indices: Sequence[torch.Tensor], strides: Sequence[int]) -> torch.Tensor:
    """Indices along z (k, n), y (l, n) and x (m, n) as (k, l, m, n) places in memory."""
    z, y, x = (index * stride for index, stride in zip(indices, strides, strict=True))
    return (z[:, None] + y)[:, :, None] + x


def rows_of(slices: Sequence[int], axes: Sequence[Axis], classes: int, values: int) -> list[Rows]:
    """The rows of some slices, so many at a time that about `values` are interpolated at once."""
    height, width = (len(axis.cell_of) for axis in axes[1:])
    step = max(1, values // (classes * width))
    return [(z, slice(y, min(y + step, height))) for z in slices for y in range(0, height, step)]


def _decide_rows(work: _Interpolation, rows: Rows) -> None:
    """Interpolate every class of some rows and write the winners. Same sums in the same order as by cells: the same
    winners."""
    z, y = rows
    z_low, z_high, z_share = work.axes[0].sides(slice(z, z + 1))
    y_low, y_high, y_share = work.axes[1].sides(y)
    x_low, x_high, x_share = work.axes[2].sides(slice(None))
    first, last = int(y_low[0]), int(y_high[-1]) + 1
    below, above = (work.logits[:, int(side), first:last].float() for side in (z_low, z_high))
    plane = _mixed(below, above, z_share)
    lines = _mixed(plane.index_select(1, y_low - first), plane.index_select(1, y_high - first), y_share[:, None])
    # x comes first: then whole rows are copied, not single values
    lines = lines.permute(2, 0, 1).contiguous()
    values = _mixed(lines.index_select(0, x_low), lines.index_select(0, x_high), x_share[:, None, None])
    if work.rounded:
        values = values.half().float()
    best = values[:, 0].clone()
    winner = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for number in range(1, values.shape[1]):
        value = values[:, number]
        winner.masked_fill_(value > best, number)
        torch.maximum(best, value, out=best)
    work.labels[z, y] = winner.T


def _mixed(low: torch.Tensor, high: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return low * (1 - share) + high * share


def _slabs(logits: torch.Tensor) -> list[slice]:
    """Slices that are worked on at a time."""
    size = logits.shape[1]
    step = max(1, _values_at_once(logits) // logits[0, 0].numel())
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _values_at_once(logits: torch.Tensor) -> int:
    return BATCH_VALUES.get(logits.device.type, BATCH_VALUES["cpu"])


def _each(items: Sequence[Item], work: Callable[[Item], None], device: torch.device, report: Report) -> None:
    """Do `work` for every item; on the CPU as many at a time as torch may use threads, each on one thread.

    torch by itself would spread every one of thousands of small operations over all cores and wait for the slowest.
    On a processor that has other things to do as well, that takes ten times as long.
    """
    if device.type != "cpu":
        for number, item in enumerate(items):
            work(item)
            report(number / len(items))
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads)
    try:
        for number, future in enumerate([pool.submit(work, item) for item in items]):
            future.result()
            report(number / len(items))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _between(start: float, stop: float, progress: Progress | None) -> Report:
    """Reports a part of a stage, which goes from fraction `start` to `stop`."""
    return (lambda fraction: progress.update(start + (stop - start) * fraction)) if progress else _silent
