"""Data set fingerprint: foreground intensities, spacings and shapes of the training CTs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.model.plan import Intensity
from flareseg.volume import Index, Triple
from train.common.json_files import write_json

VOXELS = 10_000
"""Sampled from each case, so that large CTs do not dominate."""


@dataclass(frozen=True)
class Statistics:
    """Measured over the training cases.

    Attributes:
        intensity: 0.5 and 99.5 percentile, mean and standard deviation of the foreground HU, as in nnU-Net.
        median_hu: of the same voxels, HU.
        foreground: "structures" (ground truth and pseudo-labels), or "body" if no case has labels.
        median_spacing_zyx_mm, median_shape_zyx: of the images as stored.
        cases, voxels: number of cases and voxels sampled.
    """

    intensity: Intensity
    median_hu: float
    median_spacing_zyx_mm: Triple
    median_shape_zyx: Index
    cases: int
    voxels: int
    foreground: Literal["structures", "body"] = "structures"


def sample_of(hu: NDArray[Any], foreground: NDArray[np.bool_], seed: int) -> dict[int, int]:
    """Histogram (HU to count) of up to 10,000 random foreground voxels."""
    values = hu[foreground]
    if len(values) > VOXELS:
        values = np.random.default_rng(seed).choice(values, VOXELS, replace=False)
    found, counts = np.unique(np.rint(values).astype(np.int64), return_counts=True)
    return {int(value): int(count) for value, count in zip(found, counts, strict=True)}


def measure(
    samples: Sequence[Mapping[int, int]],
    spacings_zyx_mm: Sequence[Triple],
    shapes_zyx: Sequence[Index],
    foreground: Literal["structures", "body"] = "structures",
) -> Statistics:
    """Statistics from the samples, spacings and shapes of the cases.

    Raises:
        InputError: when all samples are empty.
    """
    parts = [np.repeat(list(sample.keys()), list(sample.values())) for sample in samples if sample]
    values = np.concatenate([np.zeros(0), *parts]).astype(np.float64)
    if not len(values):
        raise InputError("No training case has foreground voxels to measure intensities from.")
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    spacing, shape = np.median(spacings_zyx_mm, axis=0), np.median(shapes_zyx, axis=0)
    return Statistics(
        Intensity((float(low), float(max(high, low + 1))), float(values.mean()), float(max(values.std(), 1.0))),
        float(middle),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        (int(shape[0]), int(shape[1]), int(shape[2])),
        len(parts),
        len(values),
        foreground,
    )


def write_statistics(statistics: Statistics, path: Path) -> None:
    """Write the statistics as JSON, atomically."""
    write_json(path, asdict(statistics))


def read_statistics(path: Path) -> Statistics:
    """Read what `write_statistics` wrote.

    Raises:
        InputError: when the file is missing or damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        intensity = data.pop("intensity")
        low, high = intensity["clip_hu"]
        own: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return Statistics(intensity=Intensity((low, high), intensity["mean_hu"], intensity["std_hu"]), **own)
    except OSError:
        raise InputError(f"There are no statistics '{path}'; run the stage 'prepare' first.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"The statistics '{path}' are damaged; run the stage 'prepare' again.") from None
