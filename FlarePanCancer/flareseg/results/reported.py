"""All that a report is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flareseg.results.measure import Measurement
from flareseg.results.warnings import CaseWarning
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume


@dataclass(frozen=True)
class Reported:
    """One case.

    Attributes:
        segmentation: on the grid of `volume`; its name is the report's title.
        volume: the CT.
        rows: what `measure` gave.
        warnings: what `warnings_of` gave.
    """

    segmentation: Segmentation
    volume: Volume
    rows: Sequence[Measurement]
    warnings: Sequence[CaseWarning]
