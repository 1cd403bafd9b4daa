"""Sample a patch: draw its position and pose, and read that part of the case from the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.model.plan import Plan
from flareseg.volume import Index, Triple
from train.augmentation import nnunet
from train.augmentation.intensity import OrganValues
from train.augmentation.lesions import draw_places
from train.augmentation.spatial import Pose, draw_pose
from train.data.cache import CachedCase
from train.fit_config import AugmentConfig
from train.net_config import NetConfig

BORDER = 0.15
"""Maximum fraction of a patch outside its case, per side; in inference, windows end at the border."""


@dataclass(frozen=True)
class Sample:
    """Data of one patch before augmentation.

    Attributes:
        name: of the case.
        hu: int16 (z, y, x), the part of the case that the patch needs.
        labels: uint8, same shape, FLARE label values and 255; None: unlabelled.
        known: bool per class, the annotated classes.
        spacing_zyx_mm: of these arrays.
        pose: of the patch, with its centre in voxels of `hu`.
        lesions: (n, 4) host organ and voxel of `hu` for tumours to implant.
        organs: mean HU per class; None without labels, or if no augmentation needs it.
        seed: of the random numbers of the augmentation.
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
        """Pin the memory, as the DataLoader does for tensors."""
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
    *,
    centred: bool = False,
) -> Sample:
    """Draw a position and a pose in `case`, and read the data they need from the cache.

    Args:
        foreground: probability of a patch centred near a structure of the network.
        emphasis: factors for choosing a label value as that structure; default 1.
        centred: nnU-Net's positions: a voxel of the structure in the middle, and no patch beyond the end of its case
            as far as that is possible.
    """
    patch, shape = plan.patch_zyx, case.shape_zyx
    own = augment.recipe == "own"
    if own:
        pose = draw_pose(case.spacing_zyx_mm, plan.spacing_zyx_mm, patch, augment, rng)
    else:
        pose = nnunet.draw_pose(case.spacing_zyx_mm, plan.spacing_zyx_mm, patch, augment.nnunet, rng)
    wanted = sorted(set(case.centres) & set(net.values))
    points = None
    if wanted and rng.random() < foreground:
        chances = np.cumsum([emphasis.get(value, 1.0) for value in wanted])
        if chances[-1] > 0:
            points = case.centres[wanted[int(np.searchsorted(chances, rng.random() * chances[-1], side="right"))]]
    place = _centre_within if centred else _centre
    pose = pose.at(place(shape, pose.extent(patch), points, rng), patch)
    has_labels = bool(case.known[1:].any() or case.centres)
    lesions = np.zeros((0, 4), np.int64)
    if own and has_labels and rng.random() < augment.lesion:
        lesions = draw_places(case.centres, pose, patch, rng)
    box = pose.box(patch, shape)
    corner = np.array([part.start for part in box])
    lesions = lesions - [0, *corner]
    inside = ((lesions[:, 1:] >= 0) & (lesions[:, 1:] < [part.stop - part.start for part in box])).all(axis=1)
    hu = case.hu(box)
    labels = case.labels(box) if has_labels else None
    organs_change = own and max(augment.phase, augment.organ_hu, augment.lesion) > 0
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
    """Draw the centre of a patch of `extent` voxels: near one of `points`, or anywhere.

    Along axes where the patch is larger than the case, the case is about centred in it, as padding in inference does.
    """
    shape = np.asarray(shape_zyx, np.float64)
    middle = rng.uniform(0, 1, 3) * shape
    if points is not None:
        middle = points[int(rng.integers(len(points)))] + rng.uniform(-0.3, 0.3, 3) * extent
    low = (0.5 - BORDER) * extent
    free = shape / 2 + rng.uniform(-0.12, 0.12, 3) * extent
    return np.where(low < shape - low, np.clip(middle, low, np.maximum(low, shape - low)), free) - 0.5


def _centre_within(
    shape_zyx: Index, extent: NDArray[np.float64], points: NDArray[Any] | None, rng: np.random.Generator
) -> NDArray[np.float64]:
    """As `_centre`, but in the middle of the patch lies one of `points` itself, and all of the patch in the case.

    nnU-Net lets a patch around a voxel reach beyond the last voxels of its case, though not beyond the first ones.
    """
    shape = np.asarray(shape_zyx, np.float64)
    middle = rng.uniform(extent / 2, np.maximum(shape - extent / 2, extent / 2))
    if points is not None:
        middle = points[int(rng.integers(len(points)))]  # of an even number of voxels the one after the middle
        middle = np.clip(middle, extent / 2, np.maximum(shape - extent / 2, extent / 2))
    return np.where(extent < shape, middle, shape / 2) - 0.5
