"""Between Hounsfield units and what a network sees: for both ways of inference, and for training."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.model.plan import Intensity
from flareseg.volume import box_of

LEAST_STD = 1e-8


def normalize_(hu: torch.Tensor, intensity: Intensity) -> torch.Tensor:
    """HU to network input by the scheme "ct"; in place."""
    return standardize_(hu.clamp_(*intensity.clip_hu), intensity)


def standardize_(clipped: torch.Tensor, intensity: Intensity) -> torch.Tensor:
    """HU that are clipped already to network input; in place."""
    return clipped.sub_(intensity.mean_hu).div_(intensity.std_hu)


def denormalize(image: torch.Tensor, intensity: Intensity) -> torch.Tensor:
    """Network input back to HU, which stay clipped."""
    return image * intensity.std_hu + intensity.mean_hu


def normalize(hu: NDArray[Any], intensity: Intensity) -> NDArray[np.float32]:
    """A whole image by any scheme, in nnU-Net's order and precision.

    Args:
        hu: (z, y, x), cut to the `box_of` what is not 0; not resampled yet.
        intensity: of the plan.
    """
    image = hu.astype(np.float32, order="C")
    if intensity.scheme == "ct":
        np.clip(image, *intensity.clip_hu, out=image)
        image -= intensity.mean_hu
        image /= max(intensity.std_hu, LEAST_STD)
        return image
    if intensity.scheme == "zscore":
        mean, std = image.mean(), image.std()
        image -= mean
        image /= max(std, LEAST_STD)
        return image
    inside = nonzero_mask(hu)
    values = image[inside]
    image[inside] = (values - values.mean()) / max(values.std(), LEAST_STD)
    return image


def nonzero_mask(hu: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an image is not 0, its holes filled."""
    mask: NDArray[np.bool_] = ndimage.binary_fill_holes(hu != 0)
    return mask


def own_statistics(hu: NDArray[Any], intensity: Intensity) -> Intensity:
    """For `standardize_`: the mean and standard deviation of this image in place of the plan's, where its scheme is not
    "ct".

    Args:
        hu: (z, y, x), the whole image, not only the part that is looked at.
        intensity: of the plan.
    """
    if intensity.scheme == "ct":
        return intensity
    box = box_of(hu)
    if box is None:
        return intensity
    values = hu[box] if intensity.scheme == "zscore" else hu[box][nonzero_mask(hu[box])]
    std = max(float(values.std(dtype=np.float64)), LEAST_STD)
    return replace(intensity, clip_hu=(-math.inf, math.inf), mean_hu=float(values.mean(dtype=np.float64)), std_hu=std)
