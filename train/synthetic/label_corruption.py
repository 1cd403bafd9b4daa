"""Simulated organ pseudo-labels: ground truth corrupted with typical errors of a segmentation network.

FLARE 2023 provides organ pseudo-labels predicted by the winners of the year before. They are good for large,
high-contrast organs, but miss or truncate thin ones, leak into neighbours of similar intensity, contain false islands,
and label tumours as organ or background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.labels import by_names
from flareseg.volume import Triple
from train.data.index import CLASSES, TUMOUR

_LOST = ("pancreas", "right_adrenal_gland", "left_adrenal_gland", "gallbladder", "esophagus", "duodenum")
SMALL = tuple(structure.value for structure in by_names(_LOST))
"""Structures that may be missed or truncated."""
_REACH_MM = 14.0
_FAR = np.float32(1e3)


def corrupt_labels(
    labels_zyx: NDArray[np.uint8], hu_zyx: NDArray[np.int16], spacing_zyx_mm: Triple, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Corrupt the ground truth of a patient into imperfect organ labels without tumours.

    Args:
        labels_zyx: ground truth with tumours; not modified.
        hu_zyx: the CT, which determines where an organ can leak.
        spacing_zyx_mm: of both.
        rng: source of randomness; the same state gives the same errors.
    """
    spacing = np.asarray(spacing_zyx_mm, float)
    truth = _without_tumours(labels_zyx, rng)
    organs = [int(value) for value in np.unique(truth) if value]
    if not organs:
        return truth
    missed, truncated = _draw_errors([value for value in organs if value in SMALL], rng)
    result = np.zeros_like(truth)
    depth = np.zeros(truth.shape, np.float32)  # signed distance of each voxel to the surface of its current organ
    for value in organs:
        if value == missed:
            continue
        box = _box_with_margin(truth == value, spacing, _REACH_MM)
        inside = truth[box] == value
        distance = _signed_mm(inside, spacing)
        noise = _smooth_noise(inside.shape, rng, rng.uniform(8, 18) / spacing)
        distance += rng.normal(0, 0.8) + rng.uniform(0.8, 2.2) * noise
        if rng.random() < 0.5:
            distance = np.minimum(distance, _leak(inside, hu_zyx[box], spacing, rng))
        if value == truncated:
            distance = np.where(_cut_off(inside, rng), _FAR, distance)
        better = distance < depth[box]
        result[box][better] = value
        depth[box][better] = distance[better]
    if rng.random() < 0.6:
        _add_island(result, hu_zyx, spacing, int(rng.choice(organs)), rng)
    return result


def _without_tumours(labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Replace each tumour by the surrounding organ, by background, or by both."""
    result = labels.copy()
    found, _ = ndimage.label(labels == TUMOUR)
    for number, box in enumerate(ndimage.find_objects(found), 1):
        wide = tuple(slice(max(part.start - 2, 0), part.stop + 2) for part in box)
        mine = found[wide] == number
        shell = ndimage.binary_dilation(mine, iterations=2) & ~mine
        round_it = np.bincount(labels[wide][shell], minlength=CLASSES)
        round_it[TUMOUR] = 0
        host = int(round_it.argmax()) if round_it.any() else 0
        if round_it[1:].sum() > 0.3 * round_it.sum():
            host = 1 + int(round_it[1:].argmax())
        fate = rng.random()
        result[wide][mine] = host if fate < 0.65 else 0
        if 0.65 <= fate < 0.85:  # the rim becomes organ, the core background
            core = ndimage.binary_erosion(mine, iterations=2)
            result[wide][mine & ~core] = host
    return result


def _draw_errors(small: list[int], rng: np.random.Generator) -> tuple[int, int]:
    """Label values of the organ to miss and of the one to truncate; 0: none."""
    missed = int(rng.choice(small)) if small and rng.random() < 0.2 else 0
    others = [value for value in small if value != missed]
    truncated = int(rng.choice(others)) if others and rng.random() < 0.6 else 0
    return missed, truncated


def _cut_off(inside: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask of the voxels beyond a random cut across the longest axis of the organ."""
    places = np.argwhere(inside)
    axis = int(np.ptp(places, axis=0).argmax())
    at = np.quantile(places[:, axis], rng.uniform(0.15, 0.5))
    index = np.arange(inside.shape[axis]).reshape([-1 if k == axis else 1 for k in range(3)])
    beyond = index < at
    if rng.random() < 0.5:
        top = np.quantile(places[:, axis], 1 - rng.uniform(0.15, 0.5))
        beyond = index > top
    return np.broadcast_to(beyond, inside.shape)


def _leak(
    inside: NDArray[np.bool_], hu: NDArray[np.int16], spacing: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Distance to a blob at a random surface point, limited to tissue of similar intensity."""
    rim = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    at = rim[int(rng.integers(len(rim)))]
    blob = _ball_mm(inside.shape, at, spacing) - rng.uniform(5, 11)
    middle = float(np.median(hu[inside]))
    alike = np.abs(ndimage.uniform_filter(hu.astype(np.float32), 3) - middle) < 35
    return np.where(alike, blob, _FAR).astype(np.float32)


def _add_island(
    labels: NDArray[np.uint8], hu: NDArray[np.int16], spacing: NDArray[np.float64], value: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Add a false-positive island of an organ in soft tissue; in place."""
    tissue = np.argwhere((hu[::3, ::3, ::3] > 0) & (hu[::3, ::3, ::3] < 120) & (labels[::3, ::3, ::3] == 0))
    if len(tissue) == 0:
        return
    at = tissue[int(rng.integers(len(tissue)))] * 3
    radius = rng.uniform(4, 9)
    box = tuple(
        slice(max(int(p - radius / mm), 0), int(p + radius / mm) + 2) for p, mm in zip(at, spacing, strict=True)
    )
    ball = _ball_mm(labels[box].shape, at - [part.start for part in box], spacing) < radius
    labels[box][ball & (labels[box] == 0) & (hu[box] > -30)] = value


def _signed_mm(inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Signed distance to the organ surface, negative inside."""
    out = ndimage.distance_transform_edt(~inside, spacing)
    deep = ndimage.distance_transform_edt(inside, spacing)
    half = 0.5 * float(spacing.mean())
    return np.where(inside, half - deep, out - half).astype(np.float32)


def _smooth_noise(shape: tuple[int, ...], rng: np.random.Generator, sigma: NDArray[np.float64]) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, truncate=2.5)
    return noise / max(float(noise.std()), 1e-6)


def _ball_mm(shape: tuple[int, ...], at: NDArray[np.int64], spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance of every voxel to the voxel `at`."""
    axes = [((np.arange(n) - p) * mm) ** 2 for n, p, mm in zip(shape, at, spacing, strict=True)]
    return np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2]).astype(np.float32)


def _box_with_margin(mask: NDArray[np.bool_], spacing: NDArray[np.float64], margin_mm: float) -> tuple[slice, ...]:
    """Bounding box of a mask with a margin."""
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    return tuple(
        slice(max(part.start - int(margin_mm / mm), 0), part.stop + int(margin_mm / mm))
        for part, mm in zip(box, spacing, strict=True)
    )
