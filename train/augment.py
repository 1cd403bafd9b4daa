"""Augmentation: every patch is a new patient on a new scanner.

Space first: rotation, scale, translation and a smooth elastic displacement make one coordinate per voxel of the patch,
at which image (linear) and labels (nearest) are read once from the case's own grid. Left and right are never swapped.
Then grey values: what contrast agent, tumours, dose, slice thickness, kernel and field of view do to a CT. The wide
change of HU organ by organ is what lets a net that saw two contrast phases segment a plain scan.

All functions work on (z, y, x) float32 tensors in HU and draw from the given generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from flareseg.model.plan import Plan
from flareseg.volume import Index, Triple
from train.config import AIR_HU, AugmentConfig

IGNORE = 255
TUMOUR = 14
_MAY_BEAR_LESIONS = (1, 2, 3, 4, 13)
# HU of the structures 1 to 13 in plain, arterial, portal and delayed scans: typical values of radiology.
_PHASE_HU = np.array(
    [
        [55, 32, 46, 38, 41, 39, 22, 22, 9, 36, 36, 34, 32],
        [68, 130, 118, 98, 290, 75, 62, 62, 9, 52, 68, 66, 130],
        [106, 172, 118, 92, 150, 125, 70, 70, 10, 60, 76, 76, 172],
        [92, 148, 98, 76, 115, 112, 55, 55, 10, 56, 66, 64, 148],
    ],
    np.float32,
)


def augmented_patch(
    hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    spacing_zyx_mm: Triple,
    centre_zyx: NDArray[Any],
    plan: Plan,
    patch_zyx: Index,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One patch around the voxel `centre_zyx` of a case: the normalised image (float32) and its labels (uint8)."""
    coordinates = sample_coordinates(spacing_zyx_mm, centre_zyx, plan.spacing_zyx_mm, patch_zyx, config, rng)
    image, target = read_at(hu, labels, coordinates)
    if rng.random() < config.lesion:
        target = implant_lesion(image, target, plan.spacing_zyx_mm, rng)
    image = change_contrast(image, target, config, rng)
    image = degrade(image, plan.spacing_zyx_mm, config, rng)
    if rng.random() < config.field_of_view:
        cut_field_of_view(image, target, rng)
    return normalised(image, plan), target


def normalised(image: torch.Tensor, plan: Plan) -> torch.Tensor:
    """HU as the network wants them."""
    intensity = plan.intensity
    return image.clamp(*intensity.clip_hu).sub(intensity.mean_hu).div(intensity.std_hu)


def sample_coordinates(
    spacing_zyx_mm: Triple,
    centre_zyx: NDArray[Any],
    target_spacing_zyx_mm: Triple,
    patch_zyx: Index,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Where in the case's grid each voxel of the patch lies: (z, y, x, 3) voxel coordinates in the order z, y, x."""
    scale = np.exp(rng.uniform(-config.scale, config.scale) + rng.uniform(-1, 1, 3) * config.scale_per_axis)
    matrix = _rotation(np.radians(rng.uniform(-1, 1, 3) * config.rotation_degrees))
    matrix = matrix * (scale * target_spacing_zyx_mm)  # voxels of the patch -> mm
    matrix = matrix / np.asarray(spacing_zyx_mm)[:, None]  # mm -> voxels of the case
    steps = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch_zyx]
    m = torch.from_numpy(matrix.astype(np.float32))
    z, y, x = steps
    coordinates = (
        z[:, None, None, None] * m[:, 0]
        + y[None, :, None, None] * m[:, 1]
        + x[None, None, :, None] * m[:, 2]
        + torch.from_numpy(np.asarray(centre_zyx, np.float32))
    )
    if config.elastic_mm > 0:
        # control points about 50 mm apart
        knots = [max(4, round(n * mm / 50) + 3) for n, mm in zip(patch_zyx, target_spacing_zyx_mm, strict=True)]
        strength = rng.uniform(0, config.elastic_mm) / np.array(spacing_zyx_mm)[:, None, None, None]
        control = torch.from_numpy((rng.standard_normal((3, *knots)) * strength).astype(np.float32))
        # twice linear: the coarse step is smoothed, so that no crease is left at the control points
        fine = F.interpolate(control[None], scale_factor=3, mode="trilinear", align_corners=True)
        fine = F.avg_pool3d(fine, 3, stride=1)
        field = F.interpolate(fine, size=patch_zyx, mode="trilinear", align_corners=True)
        coordinates = coordinates + field[0].permute(1, 2, 3, 0)
    return coordinates


def read_at(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], coordinates: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """HU (linear) and labels (nearest) at voxel coordinates; outside the case air and 255."""
    shape = np.array(hu.shape)
    flat = coordinates.reshape(-1, 3)
    low = np.clip(np.floor(flat.amin(0).numpy()).astype(int) - 1, 0, shape - 2)
    high = np.clip(np.ceil(flat.amax(0).numpy()).astype(int) + 2, low + 2, shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    size = torch.from_numpy((high - low).astype(np.float32))
    grid = ((coordinates - torch.from_numpy(low.astype(np.float32))) * (2 / (size - 1)) - 1).flip(-1)[None]
    # Both are shifted so that the zeros which grid_sample pads with mean air and "unknown".
    image = torch.from_numpy(hu[box].astype(np.float32) - AIR_HU)[None, None]
    target = torch.from_numpy(((labels[box].astype(np.int16) + 1) % 256).astype(np.float32))[None, None]
    image = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0, 0] + AIR_HU
    target = F.grid_sample(target, grid, mode="nearest", padding_mode="zeros", align_corners=True)[0, 0]
    return image, (target.to(torch.int16) - 1).remainder(256).to(torch.uint8)


def implant_lesion(
    image: torch.Tensor, labels: torch.Tensor, spacing_zyx_mm: Triple, rng: np.random.Generator
) -> torch.Tensor:
    """Put 1 to 3 tumours of 6 to 30 mm radius into organs; the image is changed in place, the new labels returned."""
    hosts = [value for value in _MAY_BEAR_LESIONS if int((labels == value).sum()) > 200]
    if not hosts:
        return labels
    labels = labels.clone()
    for _ in range(int(rng.integers(1, 4))):
        host = hosts[int(rng.integers(len(hosts)))]
        places = (labels == host).nonzero()
        if len(places) == 0:
            continue
        centre = places[int(rng.integers(len(places)))]
        radius_mm = rng.uniform(6, 30) * rng.uniform(0.75, 1.3, 3)
        radius = radius_mm / np.array(spacing_zyx_mm)
        low = [max(0, int(c - 1.4 * r)) for c, r in zip(centre, radius, strict=True)]
        high = [min(n, int(c + 1.4 * r) + 2) for c, r, n in zip(centre, radius, labels.shape, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        axes = [
            (torch.arange(a, b, dtype=torch.float32) - float(c)) / float(r)
            for a, b, c, r in zip(low, high, centre, radius, strict=True)
        ]
        distance = (axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None] ** 2).sqrt()
        bumps = _noise((4, 4, 4), rng)[None, None]
        distance = distance + 0.22 * F.interpolate(bumps, size=distance.shape, mode="trilinear")[0, 0]
        inside = (distance < 1) & (labels[box] == host)
        grown = (distance < 1) & (labels[box] == 0) & (image[box] > -200) & (rng.random() < 0.3)
        mask = inside | grown
        difference = rng.uniform(-70, -15) if rng.random() < 0.8 else rng.uniform(15, 60)
        soft = ((1 - distance) * float(radius.mean())).clamp(0, 1) * mask  # one voxel of soft edge
        texture = F.interpolate(_noise((5, 5, 5), rng)[None, None], size=distance.shape, mode="trilinear")[0, 0]
        core = (0.55 - distance).clamp(min=0) * (rng.uniform(-60, 0) if rng.random() < 0.4 else 0.0)
        image[box] += soft * (difference + 10 * texture + core)
        labels[box] = torch.where(mask, TUMOUR, labels[box])
    return labels


def change_contrast(
    image: torch.Tensor, labels: torch.Tensor, config: AugmentConfig, rng: np.random.Generator
) -> torch.Tensor:
    """Another contrast phase, organ by organ, then global brightness, contrast and gamma."""
    index = torch.where(labels == IGNORE, 0, labels).long()
    shift = np.zeros(TUMOUR + 1, np.float32)
    keep = np.ones(TUMOUR + 1, np.float32)  # share of the contrast inside an organ that is kept
    count = torch.bincount(index.flatten(), minlength=TUMOUR + 1).numpy()
    mean = torch.bincount(index.flatten(), image.flatten(), minlength=TUMOUR + 1).numpy() / np.maximum(count, 1)
    if rng.random() < config.phase:
        first, second = _PHASE_HU[rng.integers(4)], _PHASE_HU[rng.integers(4)]
        mix = rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
        wanted = first + mix * (second - first) + rng.normal(0, 8, 13)
        shift[1:14] = wanted - mean[1:14]
        # hollow organs are partly air or contrast agent, their mean says nothing: shift them like their wall
        shift[[10, 11, 12]] = rng.normal(0, 15, 3)
        shift[14] = shift[int(np.argmax(np.where(np.isin(np.arange(15), _MAY_BEAR_LESIONS), count, 0)))]
        keep[1:14] = rng.uniform(0.5, 1.0)
        keep[[10, 11, 12]] = 1.0
    shift[1:] += rng.normal(0, config.organ_hu * rng.uniform(0, 1), TUMOUR)
    shift[count == 0] = 0.0
    table = torch.from_numpy(np.stack([shift, 1 - keep, mean.astype(np.float32)]))[:, index]
    change = table[0] - table[1] * (image - table[2]).clamp(-150, 150)
    change = F.avg_pool3d(change[None, None], 3, stride=1, padding=1, count_include_pad=False)[0, 0]
    image = image + change
    if rng.random() < 0.5:
        image = (image - 50.0) * rng.uniform(0.8, 1.25) + 50.0 + rng.normal(0, 12)
    if rng.random() < 0.25:
        gamma = float(np.exp(rng.uniform(-0.3, 0.3)))
        low, high = -250.0, 350.0
        image = ((image.clamp(low, high) - low) / (high - low)) ** gamma * (high - low) + low
    return image


def degrade(
    image: torch.Tensor, spacing_zyx_mm: Triple, config: AugmentConfig, rng: np.random.Generator
) -> torch.Tensor:
    """Slice thickness, reconstruction kernel, low resolution and noise."""
    if rng.random() < config.blur:
        sigma = (rng.uniform(0, 4.0) / spacing_zyx_mm[0], *([rng.uniform(0, 2.5) / spacing_zyx_mm[1]] * 2))
        image = _blurred(image, sigma)
    if rng.random() < config.low_resolution:
        factors = (rng.uniform(0.4, 1.0), *([rng.uniform(0.5, 1.0)] * 2))
        size = [max(2, round(n * f)) for n, f in zip(image.shape, factors, strict=True)]
        small = F.interpolate(image[None, None], size=size, mode="trilinear")
        image = F.interpolate(small, size=image.shape, mode="trilinear")[0, 0]
    if rng.random() < 0.6:
        strength = config.noise_hu * rng.uniform(0, 1) ** 2
        if rng.random() < 0.5:
            noise = _noise(image.shape, rng)
        else:
            small_noise = _noise(tuple(max(2, n // 2 + 1) for n in image.shape), rng)
            noise = F.interpolate(small_noise[None, None], size=image.shape, mode="trilinear")[0, 0] * 1.6
        image = image + strength * noise
    return image


def cut_field_of_view(image: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator) -> None:
    """The scan ends within the patch: air and unknown labels beyond one plane; in place."""
    axis = int(rng.choice(3, p=[0.7, 0.1, 0.2]))
    size = image.shape[axis]
    length = int(size * rng.uniform(0.1, 0.5 if axis == 0 else 0.25))
    start = 0 if rng.random() < 0.5 else size - length
    image.narrow(axis, start, length).fill_(AIR_HU)
    labels.narrow(axis, start, length).fill_(IGNORE)


def _rotation(angles_zyx: NDArray[Any]) -> NDArray[Any]:
    """3 by 3 rotation of (z, y, x) vectors: about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles_zyx):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _noise(shape: Any, rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))


def _blurred(image: torch.Tensor, sigma_zyx: Any) -> torch.Tensor:
    """Gaussian blur, separable, borders repeated."""
    result = image[None, None]
    for axis, sigma in enumerate(sigma_zyx):
        if sigma < 0.15:
            continue
        reach = max(1, int(np.ceil(2.5 * sigma)))
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (offsets / float(sigma)) ** 2)
        kernel = kernel / kernel.sum()
        shape, padding = [1, 1, 1, 1, 1], [0] * 6
        shape[axis + 2] = len(kernel)
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = reach
        result = F.conv3d(F.pad(result, padding, mode="replicate"), kernel.view(shape))
    return result[0, 0]
