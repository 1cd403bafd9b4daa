"""Plan nets as nnU-Net v2's ExperimentPlanner and ResEnc planners do (nnunetv2 2.8.1): 3d_fullres and, where patches
would show little of a CT, 3d_lowres. The same fingerprint gives the same plans; Testing/train/test_planner.py compares
recorded ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Index, Triple
from train.planning.fingerprint import Fingerprint
from train.planning.topology import PRESETS, Preset, Topology, feature_map_values, topology_of

ANISOTROPIC = 3
"""From this factor between spacings on, and between sizes, a data set has thick slices."""
_LEAST_BATCH = 2
_LARGEST_PATCH = 256
"""Edge of a cube with as many mm³ as the first patch that is tried."""
_LOWRES_BELOW = 0.25
"""If a patch shows less than this part of the median CT, a coarser net is planned too."""
_LOWRES_STEP = 1.03
_LOWRES_GAIN = 2
"""A coarser net whose CTs have not even this many times fewer voxels is dropped."""


@dataclass(frozen=True)
class NetPlan:
    """Numbers of a net, axes (z, y, x).

    Attributes:
        spacing_zyx_mm, patch_zyx, batch_size, median_shape_zyx: median_shape is that of the CTs at the spacing.
        filters, kernels, strides: per stage, full resolution first.
        blocks: residual blocks per stage of the encoder; empty for a plain net.
    """

    spacing_zyx_mm: Triple
    patch_zyx: Index
    batch_size: int
    median_shape_zyx: Triple
    filters: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plans:
    """The net for full resolution, and a coarser one or None."""

    fullres: NetPlan
    lowres: NetPlan | None


def plan_nets(
    found: Fingerprint, outputs: int, memory_gb: float | None = None, preset: Preset = PRESETS["plain"]
) -> Plans:
    """Plan the nets for a data set.

    Args:
        found: its fingerprint.
        outputs: classes with the background.
        memory_gb: of the GPU, as nnU-Net counts it; None: that of the preset.
        preset: the kind of net.
    """
    spacing = target_spacing(found)
    coarsest = int(np.argmax(spacing))
    order = [coarsest, *(axis for axis in range(3) if axis != coarsest)]  # thick slices first
    sizes = [
        [round(mm / target * size) for mm, target, size in zip(own, spacing, shape, strict=True)]
        for own, shape in zip(found.spacings_zyx_mm, found.shapes_zyx, strict=True)
    ]
    median = np.median(sizes, axis=0)[order]
    planner = _Planner(outputs, preset.memory_gb if memory_gb is None else memory_gb, found.training, preset)
    fine = spacing[order]
    fullres = planner.net(fine, median)
    lowres = planner.lowres(fine, median, fullres)
    residual = preset.residual
    return Plans(_in_zyx(fullres, order, residual), _in_zyx(lowres, order, residual) if lowres else None)


def target_spacing(found: Fingerprint) -> NDArray[np.float64]:
    """The median spacing in mm (z, y, x); of thick slices the 10th percentile, but no less than in the plane."""
    spacings = np.array(found.spacings_zyx_mm)
    target, size = np.percentile(spacings, 50, axis=0), np.percentile(found.shapes_zyx, 50, axis=0)
    thick = int(np.argmax(target))
    plane = [axis for axis in range(3) if axis != thick]
    in_plane = max(target[plane])
    if target[thick] > ANISOTROPIC * in_plane and size[thick] * ANISOTROPIC < min(size[plane]):
        thin = np.percentile(spacings[:, thick], 10)
        target[thick] = thin if thin >= in_plane else in_plane + 1e-5
    return np.asarray(target, np.float64)


@dataclass(frozen=True)
class _Draft:
    """A net, axes with the coarsest first."""

    spacing: NDArray[np.float64]
    median: Sequence[float]
    topology: Topology
    batch_size: int


@dataclass(frozen=True)
class _Planner:
    outputs: int
    memory_gb: float
    training: int
    preset: Preset

    def net(self, spacing: NDArray[np.float64], median: Sequence[float], voxels: float | None = None) -> _Draft:
        """The net for CTs of `median` voxels at a spacing in mm; `voxels` is `median`'s product if that is rounded."""
        limit = self.preset.values * self.memory_gb / self.preset.memory_gb
        edges = 1 / spacing
        edges = edges * (_LARGEST_PATCH**3 / np.prod(edges)) ** (1 / 3)
        topology = topology_of(spacing, [min(round(edge), size) for edge, size in zip(edges, median, strict=True)])
        while (values := feature_map_values(topology, self.outputs, self.preset.residual)) > limit:
            topology = _smaller(spacing, median, topology)
        batch = round(limit / values * _LEAST_BATCH)
        total = float(np.prod(median) if voxels is None else voxels) * self.training
        most = round(total * self.preset.share / math.prod(topology.patch))
        return _Draft(spacing.copy(), tuple(median), topology, max(min(batch, most), _LEAST_BATCH))

    def lowres(self, fine: NDArray[np.float64], median: NDArray[np.float64], fullres: _Draft) -> _Draft | None:
        """A coarser net whose patches show a quarter of the median CT; None if `fullres` does, or nearly so."""
        spacing, draft = fine.copy(), fullres
        whole = voxels = float(np.prod(median))
        while math.prod(draft.topology.patch) / voxels < _LOWRES_BELOW:
            finer = spacing.max() / spacing > 2
            spacing[finer if finer.any() else slice(None)] *= _LOWRES_STEP
            sizes = fine / spacing * median
            voxels = float(np.prod(sizes))
            draft = self.net(spacing, [round(size) for size in sizes], voxels)
        return None if draft is fullres or whole / voxels < _LOWRES_GAIN else draft


def _smaller(spacing: NDArray[np.float64], median: Sequence[float], topology: Topology) -> Topology:
    """The next smaller patch: shorter along the axis along which it shows most of the CT.

    The step is what the shorter patch, not this one, must be a multiple of, so that no size in between is passed over.
    """
    axis = int(np.argsort([own / size for own, size in zip(topology.patch, median, strict=True)])[-1])
    patch = list(topology.patch)
    patch[axis] -= topology.divisor[axis]
    step = topology_of(spacing, patch).divisor[axis]
    patch[axis] = topology.patch[axis] - step
    return topology_of(spacing, patch)


def _in_zyx(draft: _Draft, order: Sequence[int], residual: bool) -> NetPlan:
    back = [order.index(axis) for axis in range(3)]

    def turned(values: Sequence[float]) -> tuple[float, float, float]:
        return values[back[0]], values[back[1]], values[back[2]]

    def per_stage(values: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(sizes[axis] for axis in back) for sizes in values)

    z, y, x = (draft.topology.patch[axis] for axis in back)
    return NetPlan(
        spacing_zyx_mm=turned([float(mm) for mm in draft.spacing]),
        patch_zyx=(z, y, x),
        batch_size=draft.batch_size,
        median_shape_zyx=turned([float(size) for size in draft.median]),
        filters=draft.topology.filters,
        kernels=per_stage(draft.topology.kernels),
        strides=per_stage(draft.topology.strides),
        blocks=draft.topology.blocks if residual else (),
    )
