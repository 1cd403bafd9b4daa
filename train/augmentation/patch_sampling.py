"""What is read from the cache for one patch: a place, a pose, and the part of the case that they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.model.plan import Plan
from flareseg.volume import Index, Triple
from train.augmentation.intensity import OrganValues
from train.augmentation.lesions import draw_places
from train.augmentation.spatial import Pose, draw_pose
from train.config import AugmentConfig, NetConfig
from train.data.cache import CachedCase

BORDER = 0.15
"""Share of a patch that may lie outside its case. Windows of the inference lie inside, but end at the border."""


@dataclass(frozen=True)
class Sample:
    """What is read from the cache for one patch, with all random numbers that were drawn for it there.

    Attributes:
        name: of the case.
        hu: int16 (z, y, x), the part of the case that the patch reads.
        labels: uint8 on the same voxels, FLARE's numbers and 255; None: there are none.
        known: bool per class, what the case annotates.
        spacing_zyx_mm: (3) of these voxels.
        pose: of the patch, its centre in voxels of `hu`.
        lesions: (n, 4) host organ and voxel of `hu` where tumours are to grow.
        organs: mean HU per class; None where there are no labels, or nothing needs it.
        seed: of all random numbers that are still to be drawn.
    """

    name: str
    hu: torch.Tensor
    labels: torch.Tensor | None
    known: NDArray[np.bool_]
    spacing_zyx_mm: Triple
    pose: Pose
    lesions: NDArray[np.int64]
    organs: OrganValues | None
    seed: int

    def pin_memory(self) -> Sample:
        """For a DataLoader that copies to a GPU."""
        labels = None if self.labels is None else self.labels.pin_memory()
        return replace(self, hu=self.hu.pin_memory(), labels=labels)


def read_sample(
    case: CachedCase,
    net: NetConfig,
    plan: Plan,
    augment: AugmentConfig,
    foreground: float,
    emphasis: Mapping[int, float],
    rng: np.random.Generator,
) -> Sample:
    """Draw a place and a pose in `case`, and read what they need from the cache.

    Args:
        foreground: chance that the patch lies around a structure of the net.
        emphasis: how much more often than others a label value is that structure; 1 unless given.
    """
    patch, shape = plan.patch_zyx, case.shape_zyx
    pose = draw_pose(case.spacing_zyx_mm, plan.spacing_zyx_mm, patch, augment, rng)
    wanted = sorted(set(case.centres) & set(net.values))
    points = None
    if wanted and rng.random() < foreground:
        chances = np.cumsum([emphasis.get(value, 1.0) for value in wanted])
        if chances[-1] > 0:
            points = case.centres[wanted[int(np.searchsorted(chances, rng.random() * chances[-1], side="right"))]]
    pose = pose.at(_centre(shape, pose.extent(patch), points, rng), patch)
    has_labels = bool(case.known[1:].any())
    lesions = np.zeros((0, 4), np.int64)
    if has_labels and rng.random() < augment.lesion:
        lesions = draw_places(case.centres, pose, patch, rng)
    box = pose.box(patch, shape)
    corner = np.array([part.start for part in box])
    lesions = lesions - [0, *corner]
    inside = ((lesions[:, 1:] >= 0) & (lesions[:, 1:] < [part.stop - part.start for part in box])).all(axis=1)
    hu = case.hu(box)
    labels = case.labels(box) if has_labels else None
    organs_change = max(augment.phase, augment.organ_hu, augment.lesion) > 0
    return Sample(
        name=case.name,
        hu=torch.from_numpy(hu),
        labels=None if labels is None else torch.from_numpy(labels),
        known=case.known,
        spacing_zyx_mm=case.spacing_zyx_mm,
        pose=pose.at(pose.centre_zyx - corner, patch),
        lesions=lesions[inside],
        organs=OrganValues.of(hu, labels) if labels is not None and organs_change else None,
        seed=int(rng.integers(2**62)),
    )


def _centre(
    shape_zyx: Index, extent: NDArray[np.float64], points: NDArray[Any] | None, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The middle of a patch that is `extent` voxels large: around one of `points`, or anywhere.

    A patch that is longer than its case has the case about in its middle, as the inference pads it.
    """
    shape = np.asarray(shape_zyx, np.float64)
    middle = rng.uniform(0, 1, 3) * shape
    if points is not None:
        middle = points[int(rng.integers(len(points)))] + rng.uniform(-0.3, 0.3, 3) * extent
    low = (0.5 - BORDER) * extent
    free = shape / 2 + rng.uniform(-0.12, 0.12, 3) * extent
    return np.where(low < shape - low, np.clip(middle, low, np.maximum(low, shape - low)), free) - 0.5
