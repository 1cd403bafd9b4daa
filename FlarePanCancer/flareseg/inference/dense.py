"""Every class interpolated everywhere, a few rows at a time: where borders are everywhere, that is the shortest way."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from flareseg.inference.linear_axis import Axis

Rows = tuple[int, slice]
"""A slice of the CT's grid and some of its rows."""


def rows_of(slices: Sequence[int], axes: Sequence[Axis], classes: int, values: int) -> list[Rows]:
    """The rows of some slices, so many at a time that about `values` are interpolated at once."""
    height, width = (len(axis.cell_of) for axis in axes[1:])
    step = max(1, values // (classes * width))
    return [(z, slice(y, min(y + step, height))) for z in slices for y in range(0, height, step)]


def decide_rows(labels: torch.Tensor, logits: torch.Tensor, axes: Sequence[Axis], rounded: bool, rows: Rows) -> None:
    """Write the winners of some rows to `labels`. Same sums in the same order as by cells: the same winners."""
    z, y = rows
    z_low, z_high, z_share = axes[0].sides(slice(z, z + 1))
    y_low, y_high, y_share = axes[1].sides(y)
    x_low, x_high, x_share = axes[2].sides(slice(None))
    first, last = int(y_low[0]), int(y_high[-1]) + 1
    below, above = (logits[:, int(side), first:last].float() for side in (z_low, z_high))
    plane = _mixed(below, above, z_share)
    lines = _mixed(plane.index_select(1, y_low - first), plane.index_select(1, y_high - first), y_share[:, None])
    # x comes first: then whole rows are copied, not single values
    lines = lines.permute(2, 0, 1).contiguous()
    values = _mixed(lines.index_select(0, x_low), lines.index_select(0, x_high), x_share[:, None, None])
    if rounded:
        values = values.half().float()
    best = values[:, 0].clone()
    winner = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for number in range(1, values.shape[1]):
        value = values[:, number]
        winner.masked_fill_(value > best, number)
        torch.maximum(best, value, out=best)
    labels[z, y] = winner.T


def _mixed(low: torch.Tensor, high: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return low * (1 - share) + high * share
