"""Augmentation: every patch is a new patient on a new scanner.

First tumours grow in the case's own grid, then the patient turns and bends (one interpolation, `spatial.py`),
then the scanner does its part (`intensity.py`). The paper names elastic deformation, rotation, random crop, Gaussian
noise, gamma, contrast and "morphological" augmentation, without their strengths; the others are ours.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.inference.normalization import normalize_
from flareseg.labels import paired_sides
from flareseg.model.plan import Plan
from train.augmentation import intensity as augment_grey
from train.augmentation import lesions as augment_lesion
from train.augmentation.patch_sampling import Sample
from train.augmentation.spatial import read_patch
from train.config import AugmentConfig
from train.data.index import IGNORE

NOTHING = AugmentConfig(
    rotation_degrees=(0.0, 0.0, 0.0),
    **{field.name: 0.0 for field in fields(AugmentConfig) if field.name != "rotation_degrees"},
)
"""No augmentation at all: patches are cut out as they are."""


def augmented(
    sample: Sample, plan: Plan, config: AugmentConfig, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The patch of a sample: normalised image (float32) and labels (uint8, FLARE's numbers and 255), on `device`."""
    rng = np.random.default_rng([sample.seed, 1])
    generator = torch.Generator(device).manual_seed(sample.seed)
    patch, spacing = plan.patch_zyx, plan.spacing_zyx_mm
    hu = sample.hu.to(device, non_blocking=True)
    labels = None if sample.labels is None else sample.labels.to(device, non_blocking=True)
    if labels is not None and sample.organs is not None and len(sample.lesions):
        hu, labels = hu.float(), labels.clone()
        augment_lesion.implant(hu, labels, sample.lesions, sample.organs.mean_hu, sample.spacing_zyx_mm, rng)
    image, target = read_patch(hu, labels, sample.pose, patch)
    if target is not None and sample.organs is not None:
        image = augment_grey.change_organs(image, target, sample.organs, config, rng)
    image = augment_grey.change_shapes(image, spacing, config, rng)
    image = augment_grey.degrade(image, spacing, config, rng, generator)
    image = augment_grey.change_contrast(image, plan.intensity.clip_hu, config, rng)
    augment_grey.cut_field_of_view(image, target, config, rng)
    if target is None:
        target = torch.full(patch, IGNORE, dtype=torch.uint8, device=device)
    return normalize_(image, plan.intensity), target


def mirrored(values: NDArray[Any]) -> NDArray[Any]:
    """A copy in which the entries of right and left organs, at their label values, have changed places."""
    result = values.copy()
    for one, other in paired_sides():
        result[[one.value, other.value]] = values[[other.value, one.value]]
    return result
