"""Intensity augmentation: contrast phase, dose, slice thickness, kernel and field of view.

The strong HU changes per organ let a network trained on two contrast phases generalise to non-contrast CT. All
functions work on (z, y, x) float32 tensors in HU on any device and may modify them in place. Scalars come from a NumPy
generator, which avoids synchronising with the GPU; noise fields come from a generator on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from flareseg.labels import structures
from flareseg.volume import Triple
from train.augmentation.lesions import HOSTS
from train.data.index import CLASSES, IGNORE, TUMOUR
from train.fit_config import AugmentConfig
from train.net_config import AIR_HU

_ORGANS = tuple(structure for structure in structures() if structure.typical_hu)
_VALUES = np.array([structure.value for structure in _ORGANS])
_HOLLOW = tuple(structure.value for structure in _ORGANS if structure.hollow)
_PHASE_HU = np.array([structure.typical_hu for structure in _ORGANS], np.float32).T


@dataclass(frozen=True)
class OrganValues:
    """Approximate voxel count and mean HU of each class in a patch, background first."""

    count: NDArray[np.int64]
    mean_hu: NDArray[np.float32]

    @classmethod
    def of(cls, hu: NDArray[np.int16], labels: NDArray[np.uint8], enough: int = 150_000) -> OrganValues:
        """Estimate from a regular subsample of about `enough` voxels."""
        step = max(1, round((hu.size / enough) ** (1 / 3)))
        some = slice(None, None, step)
        values = labels[some, some, some].ravel()
        weights = hu[some, some, some].ravel()
        count = np.bincount(values, minlength=IGNORE + 1)[:CLASSES]
        total = np.bincount(values, weights, minlength=IGNORE + 1)[:CLASSES]
        return cls(count * step**3, (total / np.maximum(count, 1)).astype(np.float32))


def change_organs(
    image: torch.Tensor, labels: torch.Tensor, organs: OrganValues, config: AugmentConfig, rng: np.random.Generator
) -> torch.Tensor:
    """Simulate another contrast phase by an HU shift per organ; organ boundaries stay smooth."""
    shift = np.zeros(IGNORE + 1, np.float32)
    inner = shift[:CLASSES]
    keep = 1.0
    if rng.random() < config.phase:
        first, second = _PHASE_HU[rng.integers(len(_PHASE_HU))], _PHASE_HU[rng.integers(len(_PHASE_HU))]
        mix = rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
        noise = rng.normal(0, 8, len(_VALUES))
        inner[_VALUES] = first + mix * (second - first) + noise - organs.mean_hu[_VALUES]
        # the mean of hollow organs is dominated by air or oral contrast: shift only slightly
        inner[list(_HOLLOW)] = rng.normal(0, 15, len(_HOLLOW))
        inner[TUMOUR] = inner[max(HOSTS, key=lambda host: int(organs.count[host]))]
        keep = rng.uniform(0.5, 1.0)
    inner[1:] += rng.normal(0, config.organ_hu * rng.uniform(0, 1), CLASSES - 1)
    inner[_VALUES[organs.count[_VALUES] == 0]] = 0.0
    if not inner.any():
        return image
    change = _look_up(shift, labels)
    if keep < 1:
        # reduce the contrast within an organ, as between vessels and parenchyma
        middle = np.full(IGNORE + 1, np.nan, np.float32)
        solid = [value for value in _VALUES if value not in _HOLLOW and organs.count[value]]
        middle[solid] = organs.mean_hu[solid]
        away = image - _look_up(middle, labels)
        change -= away.clamp_(-150, 150).mul_(1 - keep).nan_to_num_(0.0)
    return image.add_(_mean_of_neighbours(change))


def change_contrast(
    image: torch.Tensor, clip_hu: tuple[float, float], config: AugmentConfig, rng: np.random.Generator
) -> torch.Tensor:
    """Brightness, contrast and gamma of the whole patch; gamma within `clip_hu`, the input range of the network."""
    if rng.random() < config.contrast:
        factor = rng.uniform(0.8, 1.25)
        image.mul_(factor).add_(50.0 * (1 - factor) + rng.normal(0, 12))
    if rng.random() < config.gamma:
        gamma = float(np.exp(rng.uniform(-0.3, 0.3)))
        low, high = clip_hu
        image.clamp_(low, high).sub_(low).div_(high - low).pow_(gamma).mul_(high - low).add_(low)
    return image


def change_shapes(
    image: torch.Tensor, spacing_zyx_mm: Triple, config: AugmentConfig, rng: np.random.Generator
) -> torch.Tensor:
    """The paper's "morphological" augmentation: grey-scale dilation or erosion by a ball of 1 to 2 voxels radius."""
    if rng.random() >= config.morphology:
        return image
    radius_mm = rng.uniform(1.0, 2.0) * min(spacing_zyx_mm)
    extreme = torch.maximum if rng.random() < 0.5 else torch.minimum
    result = image.clone()
    for offset in _ball(radius_mm, spacing_zyx_mm):
        to = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(offset, image.shape, strict=True))
        of = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(offset, image.shape, strict=True))
        extreme(result[to], image[of], out=result[to])
    return result


def degrade(
    image: torch.Tensor,
    spacing_zyx_mm: Triple,
    config: AugmentConfig,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> torch.Tensor:
    """Simulate slice thickness, reconstruction kernel, low resolution and noise."""
    blurs, coarsens = rng.random(2) < (config.blur, config.low_resolution)
    if blurs or coarsens:
        sigma = np.array([rng.uniform(0, 4.0), *([rng.uniform(0, 2.5)] * 2)]) / spacing_zyx_mm * blurs
        factors = np.array([rng.uniform(0.4, 1.0), *([rng.uniform(0.5, 1.0)] * 2)]) ** int(coarsens)
        image = _along_axes(
            image, [_resolution_matrix(*numbers) for numbers in zip(image.shape, sigma, factors, strict=True)]
        )
    if rng.random() < config.noise:
        strength = config.noise_hu * rng.uniform(0, 1) ** 2
        if rng.random() < 0.5:
            noise = torch.randn(image.shape, generator=generator, device=image.device)
        else:  # noise with a correlation length of two voxels, as from a smooth kernel
            coarse = [max(2, n // 2 + 1) for n in image.shape]
            grains = torch.randn((1, 1, *coarse), generator=generator, device=image.device)
            noise = F.interpolate(grains, size=image.shape, mode="trilinear")[0, 0].mul_(1.6)
        image = image.add_(noise, alpha=float(strength))
    return image


def cut_field_of_view(
    image: torch.Tensor, labels: torch.Tensor | None, config: AugmentConfig, rng: np.random.Generator
) -> None:
    """Simulate the end of the scan within the patch: air and unknown labels beyond one plane; in place."""
    if rng.random() >= config.field_of_view:
        return
    axis = int(rng.choice(3, p=[0.7, 0.1, 0.2]))
    size = image.shape[axis]
    length = int(size * rng.uniform(0.1, 0.5 if axis == 0 else 0.25))
    start = 0 if rng.random() < 0.5 else size - length
    image.narrow(axis, start, length).fill_(AIR_HU)
    if labels is not None:
        labels.narrow(axis, start, length).fill_(IGNORE)


def _ball(radius_mm: float, spacing_zyx_mm: Triple) -> list[tuple[int, ...]]:
    """Voxel offsets (z, y, x) of a ball without its centre."""
    reach = [int(radius_mm / mm) for mm in spacing_zyx_mm]
    offsets = product(*(range(-r, r + 1) for r in reach))
    return [o for o in offsets if any(o) and np.linalg.norm(np.multiply(o, spacing_zyx_mm)) <= radius_mm]


def _look_up(table: NDArray[np.float32], labels: torch.Tensor) -> torch.Tensor:
    """Look up each label in a table of 256 entries."""
    return torch.from_numpy(table).to(labels.device).index_select(0, labels.flatten().int()).view(labels.shape)


def _mean_of_neighbours(image: torch.Tensor) -> torch.Tensor:
    """3x3x3 mean filter with replicated borders."""
    for axis, size in enumerate(image.shape):
        total = image.clone()
        total.narrow(axis, 1, size - 1).add_(image.narrow(axis, 0, size - 1))
        total.narrow(axis, 0, size - 1).add_(image.narrow(axis, 1, size - 1))
        for end in (0, size - 1):
            total.select(axis, end).add_(image.select(axis, end))
        image = total
    return image.div_(27)


def _resolution_matrix(size: int, sigma: float, factor: float) -> torch.Tensor | None:
    """Blur and low resolution along one axis as a matrix; None: identity.

    Args:
        size: voxels.
        sigma: standard deviation of the Gaussian in voxels; at the borders it is renormalised.
        factor: factor of the resolution, at most 1.
    """
    small = max(min(2, size), round(size * factor))
    if sigma < 0.15 and small == size:
        return None
    matrix = torch.eye(size)
    if sigma >= 0.15:
        places = torch.arange(size, dtype=torch.float32)
        away = (places[:, None] - places) / sigma
        matrix = torch.exp(-0.5 * away**2) * (away.abs() < 4)  # denormal numbers are slow
        matrix /= matrix.sum(1, keepdim=True)
    if small < size:  # each column is the response to a single voxel
        coarse = F.interpolate(matrix.T[None], size=small, mode="linear")
        matrix = F.interpolate(coarse, size=size, mode="linear")[0].T
    return matrix


def _along_axes(image: torch.Tensor, matrices: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """Multiply each axis of `image` (z, y, x) by its matrix."""
    z, y, x = (matrix if matrix is None else matrix.to(image.device) for matrix in matrices)
    if x is not None:
        image = image @ x.T
    if y is not None:
        image = y @ image
    if z is not None:
        image = (z @ image.reshape(len(image), -1)).view(image.shape)
    return image
