"""Linear interpolation along one axis, as nnU-Net and scipy's zoom align grids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from flareseg.inference.resample import centres, nearest_indices


@dataclass(frozen=True)
class Axis:
    """Output voxels that lie between the same two samples share a cell.

    Attributes:
        low, high: (cells) the samples on both sides.
        cell_of: (outputs) the cell of every output.
        members: (most outputs of any cell, cells) the outputs of every cell; the last one repeats.
        weight: as `members`: how much of `high` there is in each.
        weight_of: (outputs) the same for every output.
    """

    low: torch.Tensor
    high: torch.Tensor
    cell_of: torch.Tensor
    members: torch.Tensor
    weight: torch.Tensor
    weight_of: torch.Tensor

    @classmethod
    def of(cls, size_in: int, size_out: int, nearest: bool, device: torch.device) -> Axis:
        """Args: `nearest`: the nearest sample is taken, nothing interpolated."""
        if nearest:
            below = nearest_indices(size_in, size_out)
            weight = np.zeros(size_out)
        else:
            place = np.clip(centres(size_in, size_out), 0, size_in - 1)
            below = np.floor(place).astype(np.intp)
            weight = place - below
        low, first, cell_of, counts = np.unique(below, return_index=True, return_inverse=True, return_counts=True)
        members = first + np.minimum(np.arange(counts.max())[:, None], counts - 1)
        high = low if nearest else np.minimum(low + 1, size_in - 1)
        share = weight.astype(np.float32)
        arrays = (low, high, cell_of.reshape(-1), members, share[members], share)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def outputs_of(self, cell: int) -> list[int]:
        """The outputs of one cell."""
        return sorted(set(self.members[:, cell].tolist()))

    def sides(self, outputs: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For some outputs the samples on both sides, and how much of the upper one there is in each."""
        cells = self.cell_of[outputs]
        return self.low[cells], self.high[cells], self.weight_of[outputs]

    def part(self, cells: slice) -> AxisPart:
        """Some neighbouring cells by themselves."""
        first = int(self.low[cells][0])
        samples = slice(first, int(self.high[cells][-1]) + 1)
        members = self.members[:, cells]
        outputs = slice(int(members[0, 0]), int(members[-1, -1]) + 1)
        axis = Axis(
            low=self.low[cells] - first,
            high=self.high[cells] - first,
            cell_of=self.cell_of[outputs] - cells.start,
            members=members - outputs.start,
            weight=self.weight[:, cells],
            weight_of=self.weight_of[outputs],
        )
        return AxisPart(axis, samples, outputs)


@dataclass(frozen=True)
class AxisPart:
    """Some neighbouring cells of an axis.

    Attributes:
        axis: of these alone, numbered from 0.
        samples, outputs: where its samples and outputs are in the whole.
    """

    axis: Axis
    samples: slice
    outputs: slice
