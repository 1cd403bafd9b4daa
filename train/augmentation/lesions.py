"""Lesion augmentation: synthetic tumours implanted into organs of a CT."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from flareseg.labels import structures
from flareseg.volume import Index, Triple
from train.augmentation.spatial import Pose
from train.data.index import TUMOUR

HOSTS = tuple(structure.value for structure in structures() if structure.hosts_tumours)
MOST = 3
"""Maximum number of lesions in one patch."""


def draw_places(
    centres: Mapping[int, NDArray[np.int64]], pose: Pose, patch_zyx: Index, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw up to three lesion centres inside organs in the patch.

    Args:
        centres: voxels (n, 3) per structure.
        pose: of the patch in the case.
        patch_zyx: patch size.
        rng: of this patch.

    Returns:
        (n, 4): label value of the organ, and z, y, x of the voxel.
    """
    seen = {host: centres[host][pose.shows(centres[host], patch_zyx)] for host in HOSTS if host in centres}
    hosts = [host for host, points in seen.items() if len(points)]
    places = np.zeros((int(rng.integers(1, MOST + 1)) if hosts else 0, 4), np.int64)
    for place in places:
        place[0] = hosts[int(rng.integers(len(hosts)))]
        points = seen[int(place[0])]
        place[1:] = points[int(rng.integers(len(points)))]
    return places


def implant(
    hu: torch.Tensor,
    labels: torch.Tensor,
    places: NDArray[np.int64],
    organ_hu: NDArray[np.float32],
    spacing_zyx_mm: Triple,
    rng: np.random.Generator,
) -> None:
    """Implant a tumour of 6 to 30 mm radius at each of `places` (host, z, y, x); both arrays are modified in place.

    Most are darker than their organ, some brighter, some have a dark core. About a third is exophytic and replaces
    unlabelled fat and soft tissue too.

    Args:
        hu: (z, y, x) float32.
        labels: uint8, same shape.
        organ_hu: mean HU per class.
    """
    for host, *centre in places.tolist():
        radius = rng.uniform(6, 30) * rng.uniform(0.75, 1.3, 3) / np.asarray(spacing_zyx_mm)
        low = [max(0, int(c - 1.4 * r)) for c, r in zip(centre, radius, strict=True)]
        high = [min(n, int(c + 1.4 * r) + 2) for c, r, n in zip(centre, radius, labels.shape, strict=True)]
        z, y, x = (slice(a, b) for a, b in zip(low, high, strict=True))
        around, shown = labels[z, y, x], hu[z, y, x]
        numbers = zip(low, high, centre, radius, strict=True)
        axes = [(torch.arange(a, b, device=hu.device) - c) / float(r) for a, b, c, r in numbers]
        distance = (axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2] ** 2).sqrt()
        distance += 0.22 * _bumps(4, distance, rng)
        inside = around == host
        open_to_it = inside.clone()
        if rng.random() < 0.3:
            open_to_it |= (around == 0) & (shown > -200) & (shown < 150)
        difference = rng.uniform(-70, -15) if rng.random() < 0.8 else rng.uniform(15, 60)
        # partial volume at the border: 50 % tumour at the edge of the label
        share = ((1 - distance) * float(radius.mean()) + 0.5).clamp_(0, 1) * open_to_it
        core = (0.55 - distance).clamp_(min=0) * (rng.uniform(-60, 0) if rng.random() < 0.4 else 0.0)
        tissue = torch.where(inside, shown, float(organ_hu[host])) + 10 * _bumps(5, distance, rng)
        shown += share * (tissue + difference + core - shown)
        around.masked_fill_(open_to_it & (distance < 1), TUMOUR)


def _bumps(knots: int, like: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Smooth noise with the shape of `like`."""
    noise = torch.from_numpy(rng.standard_normal((1, 1, knots, knots, knots), dtype=np.float32)).to(like.device)
    return F.interpolate(noise, size=like.shape, mode="trilinear")[0, 0]
