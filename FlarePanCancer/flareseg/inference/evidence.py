"""What a network says of each structure beside its labels, added up while its logits are at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.expectation import Signs
from flareseg.inference.head import LazyLogits, Logits, grid_of, slabs_of
from flareseg.labels import Structure
from flareseg.volume import Box, Index, Triple

SLICES = 8
"""Of the network's grid at a time."""
ROWS = 2
"""Of so many rows of that grid one is looked at: neighbours are much alike, and this takes half the time."""
FAINT = 3.0
"""Voxels in which the background exceeds every structure by more logits say nothing of any; most of a CT is so."""
SAMPLED_MM = 2.0
"""Distance of the voxels that are counted for the volume."""


class Evidence:
    """Sums over the voxels of the network's grid, per output channel.

    Args:
        classes: output channels, the background included.

    Attributes:
        drawn_ml: volume in which the channel wins.
        within_ml: the same, each voxel weighed by the channel's probability.
        total_ml: all voxels weighed so, but those that are background beyond doubt.
    """

    def __init__(self, classes: int) -> None:
        self.drawn_ml, self.within_ml, self.total_ml = (np.zeros(classes) for _ in range(3))

    def add(self, logits: Logits, voxel_ml: float, part: Box | None = None) -> None:
        """Count a part of the CT.

        Args:
            logits: (classes, z, y, x) of one network; those of networks with more classes than features are left out,
                because to compute them all would take longer than the labels do.
            voxel_ml: of their grid.
            part: of that grid, where the rest was counted before.
        """
        if isinstance(logits, LazyLogits):
            return
        z, y, x = part or (slice(None), slice(None), slice(None))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # for operations as small as these, others would be waited for
        try:
            for _, slab in slabs_of(logits[:, z, y, x], SLICES):
                self._add(slab[:, :, ::ROWS], voxel_ml * slab.shape[2] / max(1, len(range(0, slab.shape[2], ROWS))))
        finally:
            torch.set_num_threads(threads)

    def _add(self, slab: torch.Tensor, voxel_ml: float) -> None:
        if not slab.numel():  # a part that is thinner than the network's voxels
            return
        classes = len(self.drawn_ml)
        flat = slab.reshape(classes, -1)
        near = (flat[1:].amax(0) > flat[0] - FAINT).nonzero()[:, 0]
        p = flat.index_select(1, near).cpu().float()
        best, winner = p.max(0)
        p -= best
        p.exp_()
        # of the winner, because its difference from the best is 0
        highest = p.sum(0).reciprocal_()
        self.drawn_ml += torch.bincount(winner, minlength=classes).numpy() * voxel_ml
        self.within_ml += torch.bincount(winner, highest.double(), minlength=classes).numpy() * voxel_ml
        self.total_ml += (p @ highest).double().numpy() * voxel_ml

    def signs(
        self, structures: Sequence[Structure], labels: NDArray[np.uint8], spacing_zyx_mm: Triple
    ) -> dict[str, Signs]:
        """By name, of the structures that were drawn and are still there.

        Args:
            structures: of channels 1, 2, ...
            labels: (z, y, x) on the CT's grid, after post-processing.
            spacing_zyx_mm: of `labels`.
        """
        volumes_ml = _volumes_ml(labels, spacing_zyx_mm)
        result = {}
        for channel, structure in enumerate(structures, 1):
            drawn, within, total = (float(sums[channel]) for sums in (self.drawn_ml, self.within_ml, self.total_ml))
            volume_ml = float(volumes_ml[structure.value])
            if drawn > 0 and volume_ml > 0:
                result[structure.name] = Signs(
                    within / drawn, 2 * within / (total + drawn), volume_ml, min(1.0, volume_ml / drawn)
                )
        return result


def part_on_grid(part: Box, shape_zyx: Index, logits: Logits) -> Box:
    """A part of a box of `shape_zyx` voxels, on the network's grid over the same box."""
    z, y, x = (
        slice(round(one.start * size / voxels), round(one.stop * size / voxels))
        for one, voxels, size in zip(part, shape_zyx, grid_of(logits), strict=True)
    )
    return z, y, x


def _volumes_ml(labels: NDArray[np.uint8], spacing_zyx_mm: Triple) -> NDArray[np.float64]:
    """Per label value, estimated from voxels some 2 mm apart: exact counts of a whole CT would take twenty times
    as long."""
    steps = tuple(max(1, round(SAMPLED_MM / mm)) for mm in spacing_zyx_mm)
    z, y, x = (slice(step // 2, None, step) for step in steps)
    counts = np.zeros(256)
    for plane in labels[z]:
        seen = plane[y, x]
        counts += np.bincount(seen[seen != 0], minlength=256)
    return counts * float(np.prod(spacing_zyx_mm) * np.prod(steps)) / 1000
