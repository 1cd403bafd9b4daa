"""Why slices are not straight above each other: gantry tilt, a step of the table, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.dicom.slices import Slice, depths_mm

LARGEST_TILT_DEGREES = 45.0
STRAIGHT_SHARE = 0.02
"""A tilt is one line through all slices, to this share of the whole shift."""


def sideways_note(
    path: Path, slices: Sequence[Slice], aside_mm: NDArray[np.float64], distance_mm: float, negligible_mm: float
) -> str:
    """The note on slices that were shifted in their planes onto an upright grid.

    Args:
        path: for messages.
        slices: by ascending depth.
        aside_mm: (slices, 2), how far each lies aside of the first one, along x and y.
        distance_mm: of neighbouring slices.
        negligible_mm: a smaller shift cannot be seen.

    Raises:
        InputError: when neighbouring slices are farther aside of each other than any gantry tilts.
    """
    steps = np.diff(aside_mm, axis=0)
    largest = float(np.linalg.norm(steps, axis=1).max())
    if np.degrees(np.arctan2(largest, distance_mm)) > LARGEST_TILT_DEGREES:
        raise InputError(
            f"'{path}': its slices are shifted by up to {largest:.1f} mm against each other and make no volume."
        )
    depths = depths_mm(slices)
    from_middle = depths - depths.mean()
    shear = from_middle @ (aside_mm - aside_mm.mean(axis=0)) / (from_middle @ from_middle)
    beside = aside_mm - aside_mm.mean(axis=0) - from_middle[:, None] * shear
    whole = float(np.linalg.norm(np.ptp(aside_mm, axis=0)))
    if np.linalg.norm(beside, axis=1).max() <= max(negligible_mm, STRAIGHT_SHARE * whole):
        degrees = float(np.degrees(np.arctan(np.linalg.norm(shear))))
        return f"Gantry tilt of {degrees:.1f} degrees: slices were shifted in their planes onto an upright grid."
    usual = np.median(steps, axis=0)
    odd = np.flatnonzero(np.linalg.norm(steps - usual, axis=1) > negligible_mm)
    if len(odd) == 1:
        return (
            f"The slices from '{slices[odd[0] + 1].name}' on lie {np.linalg.norm(steps[odd[0]]):.1f} mm aside of those "
            "before (a step of the table, or of the field of view); they were placed as their headers say."
        )
    return (
        f"Slices lie up to {whole:.1f} mm aside of each other, unevenly; they were placed as their headers say, which "
        "is no gantry tilt."
    )
