"""Augmentation pipeline.

Lesions are implanted on the grid of the case (`lesions.py`), then the patch is resampled with the spatial augmentation
in a single interpolation (`spatial.py`), then intensities are augmented (`intensity.py`). The paper names elastic
deformation, rotation, random crop, Gaussian noise, gamma, contrast and "morphological" augmentation without parameters;
all others are additions.
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
from train.augmentation import intensity, lesions
from train.augmentation.patch_sampling import Sample
from train.augmentation.spatial import read_patch
from train.data.index import IGNORE
from train.fit_config import AugmentConfig

NOTHING = AugmentConfig(
    rotation_degrees=(0.0, 0.0, 0.0),
    **{field.name: 0.0 for field in fields(AugmentConfig) if field.name != "rotation_degrees"},
)
"""No augmentation: plain crops."""


def augmented(
    sample: Sample, plan: Plan, config: AugmentConfig, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment a sample: normalised image (float32) and labels (uint8, FLARE label values and 255), on `device`."""
    rng = np.random.default_rng([sample.seed, 1])
    generator = torch.Generator(device).manual_seed(sample.seed)
    patch, spacing = plan.patch_zyx, plan.spacing_zyx_mm
    hu = sample.hu.to(device, non_blocking=True)
    labels = None if sample.labels is None else sample.labels.to(device, non_blocking=True)
    if labels is not None and sample.organs is not None and len(sample.lesions):
        hu, labels = hu.float(), labels.clone()
        lesions.implant(hu, labels, sample.lesions, sample.organs.mean_hu, sample.spacing_zyx_mm, rng)
    image, target = read_patch(hu, labels, sample.pose, patch)
    if target is not None and sample.organs is not None:
        image = intensity.change_organs(image, target, sample.organs, config, rng)
    image = intensity.change_shapes(image, spacing, config, rng)
    image = intensity.degrade(image, spacing, config, rng, generator)
    image = intensity.change_contrast(image, plan.intensity.clip_hu, config, rng)
    intensity.cut_field_of_view(image, target, config, rng)
    if target is None:
        target = torch.full(patch, IGNORE, dtype=torch.uint8, device=device)
    return normalize_(image, plan.intensity), target


def mirrored(values: NDArray[Any]) -> NDArray[Any]:
    """A copy with the entries of right and left organs swapped; indexed by label value."""
    result = values.copy()
    for one, other in paired_sides():
        result[[one.value, other.value]] = values[[other.value, one.value]]
    return result
