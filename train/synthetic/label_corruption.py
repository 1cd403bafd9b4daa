"""Organ pseudo-labels with the faults of a net that never saw these patients: the truth, corrupted on purpose.

FLARE 2023 gives its participants organ labels predicted by the winners of the year before. They are good where organs
are large and bright, lose or cut short thin ones, run over into neighbours of the same grey value, leave an island
somewhere, and know no tumours: those are organ or background to them.
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
"""What such nets lose or cut short."""
_REACH_MM = 14.0
_FAR = np.float32(1e3)


def corrupt_labels(
    labels_zyx: NDArray[np.uint8], hu_zyx: NDArray[np.int16], spacing_zyx_mm: Triple, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Imperfect labels of the organs for a patient whose true labels, tumours included, are known.

    Args:
        labels_zyx: the truth; not changed.
        hu_zyx: the CT, which decides where an organ can leak to.
        spacing_zyx_mm: of both.
        rng: what it draws from; the same state gives the same faults.
    """
    spacing = np.asarray(spacing_zyx_mm, float)
    truth = _without_tumours(labels_zyx, rng)
    organs = [int(value) for value in np.unique(truth) if value]
    if not organs:
        return truth
    lost, cut = _casualties([value for value in organs if value in SMALL], rng)
    result = np.zeros_like(truth)
    depth = np.zeros(truth.shape, np.float32)  # how deep a voxel lies in the organ that has it
    for value in organs:
        if value == lost:
            continue
        box = _around(truth == value, spacing, _REACH_MM)
        inside = truth[box] == value
        distance = _signed_mm(inside, spacing)
        noise = _smooth_noise(inside.shape, rng, rng.uniform(8, 18) / spacing)
        distance += rng.normal(0, 0.8) + rng.uniform(0.8, 2.2) * noise
        if rng.random() < 0.5:
            distance = np.minimum(distance, _leak(inside, hu_zyx[box], spacing, rng))
        if value == cut:
            distance = np.where(_end(inside, rng), _FAR, distance)
        better = distance < depth[box]
        result[box][better] = value
        depth[box][better] = distance[better]
    if rng.random() < 0.6:
        _add_island(result, hu_zyx, spacing, int(rng.choice(organs)), rng)
    return result


def _without_tumours(labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each tumour becomes the organ that surrounds it, or background, or a bit of both."""
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
        if 0.65 <= fate < 0.85:  # the rim is taken for the organ, the core for nothing
            core = ndimage.binary_erosion(mine, iterations=2)
            result[wide][mine & ~core] = host
    return result


def _casualties(small: list[int], rng: np.random.Generator) -> tuple[int, int]:
    """Values of the small organ that is lost and of the one that is cut short; 0: none."""
    lost = int(rng.choice(small)) if small and rng.random() < 0.2 else 0
    left = [value for value in small if value != lost]
    cut = int(rng.choice(left)) if left and rng.random() < 0.6 else 0
    return lost, cut


def _end(inside: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """The voxels beyond a cut across the organ's longest axis."""
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
    """Distance to a blob that grows from the organ's surface into tissue of a similar grey value."""
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
    """A false island of an organ in soft tissue; in place."""
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
    """Distance to the organ's surface, negative inside."""
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


def _around(mask: NDArray[np.bool_], spacing: NDArray[np.float64], margin_mm: float) -> tuple[slice, ...]:
    """The box of a mask with a margin."""
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    return tuple(
        slice(max(part.start - int(margin_mm / mm), 0), part.stop + int(margin_mm / mm))
        for part, mm in zip(box, spacing, strict=True)
    )
