"""nnU-Net's augmentation: what its default trainer does in version 2.8.1, by batchgeneratorsv2 0.3.6.

The order is its own: rotation and scaling, noise, blur, brightness, contrast, low resolution, inverted gamma, gamma,
mirroring. So are probabilities and ranges (`NnunetAugmentConfig`). What differs, on purpose:

- Mirrored left to right, the structures of the two sides are swapped; nnU-Net, which does not know that there are two
  sides, leaves a mirrored right kidney a right kidney.
- A rotation is one in millimetres. nnU-Net turns voxels, which shears a patient whose slices are thicker than pixels.
- A patch that is turned or shows more shows the case there; nnU-Net has read a box, and has nothing beyond it.
- Outside the case are air and unknown labels, as in `spatial.py`; nnU-Net has mean intensity and background.
- Labels are those of the nearest voxel; nnU-Net interpolates each label by itself and takes the largest.
- A mirrored axis is read mirrored, before the intensities change, which comes to the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from flareseg.volume import Index, Triple
from train.augmentation.spatial import Pose, affine_pose, rotation
from train.fit_config import NnunetAugmentConfig, Range

TINY = 1e-7


def is_anisotropic(patch_zyx: Index, config: NnunetAugmentConfig) -> bool:
    """Whether slices are turned, scaled and coarsened each by themselves."""
    return max(patch_zyx) / patch_zyx[0] > config.anisotropic


def draw_pose(
    case_spacing_zyx_mm: Triple,
    spacing_zyx_mm: Triple,
    patch_zyx: Index,
    config: NnunetAugmentConfig,
    rng: np.random.Generator,
) -> Pose:
    """Draw a pose without its centre, as `spatial.draw_pose` does."""
    flat = is_anisotropic(patch_zyx, config)
    turns, scales = rng.random(2) < (config.rotation, config.scaling)
    degrees = np.zeros(3)
    if turns:
        degrees = np.array([config.in_plane_degrees, 0, 0]) if flat else np.full(3, config.rotation_degrees)
    turn = rotation(np.radians(rng.uniform(-1, 1, 3) * degrees))
    factor = rng.uniform(*config.scaling_range) if scales else 1.0
    scale = np.array([1.0 if flat else factor, factor, factor])
    return affine_pose(case_spacing_zyx_mm, spacing_zyx_mm, turn, scale, rng.random(3) < config.mirror)


def change_intensities(
    image: torch.Tensor, config: NnunetAugmentConfig, rng: np.random.Generator, generator: torch.Generator
) -> torch.Tensor:
    """Change a normalised patch (z, y, x), which may be modified in place.

    Args:
        config: see there.
        rng: of this patch; whether and how strongly.
        generator: on the device, for the noise.
    """
    if rng.random() < config.noise:
        noise = torch.randn(image.shape, generator=generator, device=image.device)
        image = image.add_(noise, alpha=float(rng.uniform(*config.noise_deviation)))
    if rng.random() < config.blur:
        image = blurred(image, rng.uniform(*config.blur_voxels, 3))
    if rng.random() < config.brightness:
        image = image.mul_(_about_one(config.brightness_range, rng))
    if rng.random() < config.contrast:
        image = with_contrast(image, _about_one(config.contrast_range, rng))
    if rng.random() < config.low_resolution:
        axes = range(1, 3) if is_anisotropic((*image.shape,), config) else range(3)
        image = coarsened(image, rng.uniform(*config.low_resolution_range), axes)
    if rng.random() < config.inverted_gamma:
        image = with_gamma(image.neg_(), _about_one(config.gamma_range, rng)).neg_()
    if rng.random() < config.gamma:
        image = with_gamma(image, _about_one(config.gamma_range, rng))
    return image


def blurred(image: torch.Tensor, deviation_voxels: Sequence[float] | NDArray[np.float64]) -> torch.Tensor:
    """Blur along z, y and x by a Gaussian of 6 standard deviations and half a voxel in all, mirrored at the border.

    That makes three weights for half a voxel, five from 0.58 and seven from 0.92 on.
    """
    for axis, deviation in enumerate(deviation_voxels):
        reach = int((6 * deviation + 0.5) / 2)  # to either side: what nnU-Net's nearest odd number comes to
        offsets = np.arange(-reach, reach + 1)
        weights = np.exp(-0.5 * (offsets / deviation) ** 2)
        size = image.shape[axis]
        places = np.pad(np.arange(size), reach, mode="reflect")
        wider = image.index_select(axis, torch.from_numpy(places).to(image.device))
        image = torch.zeros_like(image)
        for number, weight in enumerate(weights / weights.sum()):
            image.add_(wider.narrow(axis, number, size), alpha=float(weight))
    return image


def with_contrast(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply the distances from the mean, within the range of the image; in place."""
    low, high = image.aminmax()
    mean = image.mean()
    return image.sub_(mean).mul_(factor).add_(mean).clamp_(low, high)


def coarsened(image: torch.Tensor, fraction: float, axes: Sequence[int]) -> torch.Tensor:
    """Keep the nearest of a fraction of the voxels along `axes`, and interpolate between them."""
    small = [max(1, round(size * fraction)) if axis in axes else size for axis, size in enumerate(image.shape)]
    coarse = F.interpolate(image[None, None], small, mode="nearest-exact")
    return F.interpolate(coarse, image.shape, mode="trilinear")[0, 0]


def with_gamma(image: torch.Tensor, gamma: float) -> torch.Tensor:
    """A power of the image between its lowest and highest value; mean and standard deviation stay. In place."""
    low, high = image.aminmax()
    extent, mean, deviation = high - low, image.mean(), image.std()
    image.sub_(low).div_(extent.clamp(min=TINY)).pow_(gamma).mul_(extent)
    return image.sub_(image.mean()).mul_(deviation / image.std().clamp(min=TINY)).add_(mean)


def _about_one(limits: Range, rng: np.random.Generator) -> float:
    """As often below 1 as above, and uniform on either side."""
    low, high = limits
    if low < 1 and rng.random() < 0.5:
        return float(rng.uniform(low, 1))
    return float(rng.uniform(max(low, 1), high))
