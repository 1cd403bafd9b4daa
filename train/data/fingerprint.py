"""What the training CTs look like: intensities of the foreground, spacings, sizes."""

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
"""Drawn from each case, so that large CTs do not count for more."""


@dataclass(frozen=True)
class Statistics:
    """Measured over the training cases.

    Attributes:
        intensity: 0.5 and 99.5 percentile, mean and standard deviation of the foreground's HU, as nnU-Net takes them.
        median_hu: of the same voxels.
        foreground: "structures", annotated or pseudo-labelled ones; "body" where no case has any.
        median_spacing_zyx_mm, median_shape_zyx: of the images as stored.
        cases, voxels: that were looked at.
    """

    intensity: Intensity
    median_hu: float
    median_spacing_zyx_mm: Triple
    median_shape_zyx: Index
    cases: int
    voxels: int
    foreground: Literal["structures", "body"] = "structures"


def sample_of(hu: NDArray[Any], foreground: NDArray[np.bool_], seed: int) -> dict[int, int]:
    """HU, and how often it occurs, of up to 10,000 voxels of the foreground."""
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
        InputError: when no sample has a voxel.
    """
    parts = [np.repeat(list(sample.keys()), list(sample.values())) for sample in samples if sample]
    values = np.concatenate([np.zeros(0), *parts]).astype(np.float64)
    if not len(values):
        raise InputError("No training case has a voxel of foreground to measure intensities from.")
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
    """Write them as JSON, whole or not at all."""
    write_json(path, asdict(statistics))


def read_statistics(path: Path) -> Statistics:
    """Read what `write_statistics` wrote.

    Raises:
        InputError: when it is not there, or damaged.
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
