"""Augmentation pipeline.

Lesions are implanted on the grid of the case (`lesions.py`), then the patch is resampled with the spatial augmentation
in a single interpolation (`spatial.py`), then intensities are augmented (`intensity.py`). The paper names elastic
deformation, rotation, random crop, Gaussian noise, gamma, contrast and "morphological" augmentation without parameters;
all others are additions. The recipe of nnU-Net (`nnunet.py`) takes the place of all of these.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.inference.normalization import normalize_
from flareseg.labels import paired_sides
from flareseg.model.plan import Plan
from flareseg.volume import Index
from train.augmentation import intensity, lesions, nnunet
from train.augmentation.patch_sampling import Sample
from train.augmentation.spatial import read_patch
from train.data.index import IGNORE
from train.fit_config import AugmentConfig

_NO_NUMBERS: dict[str, Any] = {name: 0.0 for name, value in asdict(AugmentConfig()).items() if isinstance(value, float)}
NOTHING = AugmentConfig(rotation_degrees=(0.0, 0.0, 0.0), **_NO_NUMBERS)
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
    if config.recipe == "nnunet":
        image, target = read_patch(hu.float().clamp_(*plan.intensity.clip_hu), labels, sample.pose, patch)
        image = nnunet.change_intensities(normalize_(image, plan.intensity), config.nnunet, rng, generator)
        return image, _unknown(patch, device) if target is None else target
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
    return normalize_(image, plan.intensity), _unknown(patch, device) if target is None else target


def _unknown(patch_zyx: Index, device: torch.device) -> torch.Tensor:
    return torch.full(patch_zyx, IGNORE, dtype=torch.uint8, device=device)


def mirrored(values: NDArray[Any]) -> NDArray[Any]:
    """A copy with the entries of right and left organs swapped; indexed by label value."""
    result = values.copy()
    for one, other in paired_sides():
        result[[one.value, other.value]] = values[[other.value, one.value]]
    return result
