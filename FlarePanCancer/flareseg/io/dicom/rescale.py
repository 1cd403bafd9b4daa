"""From stored values to HU: slope and intercept of each slice, and what it means when they are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.dicom.slices import Slice, frame_item
from flareseg.io.dicom.values import UnclearValueError, number, text

INT16 = (-32768, 32767)
SLOPES = (1e-6, 1e4)
LARGEST_INTERCEPT = 1e6
AIR_TO_LUNG_HU = (-1100, -200)
LEAST_AIR = 0.01
"""Values of which a smaller share is air, lung or foam are no HU."""
HU_TYPES = ("", "HU", "US", "HU_MOD")
"""RescaleType of HU, and "unspecified"."""


@dataclass(frozen=True)
class Rescale:
    """HU are stored values times `slope` plus `intercept`; None where the header does not say."""

    slope: float | None
    intercept: float | None
    kind: str = ""

    @classmethod
    def of(cls, data: Any, frame: int | None) -> Rescale:
        """Of a slice, or of a frame of an enhanced image.

        Raises:
            UnclearValueError: for values that make no sense.
        """
        item = None if frame is None else frame_item(data, frame, "PixelValueTransformationSequence")
        source = data if item is None else item
        slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
        if intercept is None and source.get("ModalityLUTSequence"):
            raise UnclearValueError("they mean HU by a table, ModalityLUTSequence, instead of RescaleIntercept")
        if slope is not None and not SLOPES[0] <= abs(slope) <= SLOPES[1]:
            raise UnclearValueError(f"RescaleSlope is {slope:g}")
        if intercept is not None and abs(intercept) > LARGEST_INTERCEPT:
            raise UnclearValueError(f"RescaleIntercept is {intercept:g}")
        return cls(slope, intercept, text(source, "RescaleType").upper())

    def hu(self, stored: NDArray[Any]) -> NDArray[np.int16]:
        slope = 1.0 if self.slope is None else self.slope
        intercept = self.intercept or 0.0
        if slope == 1 and intercept.is_integer():
            wide = np.int32 if stored.dtype.itemsize < 4 else np.int64
            return np.clip(stored.astype(wide) + int(intercept), *INT16).astype(np.int16)
        return np.clip(np.rint(stored * slope + intercept), *INT16).astype(np.int16)


class RescaleRecord:
    """Which slices had rescale values, and whether the values of the others can be HU."""

    def __init__(self, path: Path, *, is_ct: bool, force: bool) -> None:
        self._path, self._is_ct, self._force = path, is_ct, force
        self._with = 0
        self._without: list[Slice] = []
        self._no_slope = 0
        self._kinds: set[str] = set()
        self._air = self._seen = 0

    def add(self, slice_: Slice, rescale: Rescale, stored: NDArray[Any], padding: NDArray[np.bool_] | None) -> None:
        self._kinds.add(rescale.kind)
        if rescale.intercept is not None:
            self._with += 1
            self._no_slope += rescale.slope is None
            return
        self._without.append(slice_)
        hu = rescale.hu(stored)
        air = (hu >= AIR_TO_LUNG_HU[0]) & (hu <= AIR_TO_LUNG_HU[1])
        if padding is not None:
            air &= ~padding
        self._air += int(np.count_nonzero(air))
        self._seen += air.size

    def notes(self) -> tuple[str, ...]:
        """What to know about the values.

        Raises:
            InputError: when a CT has no rescale values and its stored values cannot be HU, or only some slices have.
        """
        notes: tuple[str, ...] = ()
        if not self._is_ct:
            return notes
        if self._without and self._with:
            raise InputError(
                f"'{self._without[0].file}' has no RescaleIntercept, unlike other slices of its series; "
                "export the series again."
            )
        if self._without:
            if self._air < LEAST_AIR * self._seen and not self._force:
                raise InputError(
                    f"'{self._path}' has no rescale values (RescaleIntercept), and its stored values cannot be "
                    "Hounsfield units, as none is that of air; export the series again, or use --force if they are."
                )
            notes += (
                "The series has no rescale values (RescaleIntercept): stored values were taken for HU as they are.",
            )
        if self._no_slope:
            notes += (f"{self._no_slope} slices have no RescaleSlope; it was taken as 1.",)
        odd = sorted(self._kinds - set(HU_TYPES))
        if odd:
            notes += (f"RescaleType is {', '.join(odd)}: the values may not be Hounsfield units.",)
        return notes
