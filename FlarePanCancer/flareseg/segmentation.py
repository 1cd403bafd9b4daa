"""What comes out: a label map on the CT's grid and the table that says what each value means."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flareseg.expectation import Expectation
from flareseg.labels import Structure
from flareseg.volume import Geometry, Source


@dataclass(frozen=True)
class Segmentation:
    """A label map with its meaning.

    Attributes:
        labels: (z, y, x) uint8; 0 is background, others are `Structure.value`.
        geometry: exactly that of the CT.
        structures: what was looked for, by value; a structure may have no voxel.
        name: the case's name.
        model: name and version of the model, for the record.
        notes: sentences a reader of the result should see.
        seconds: wall time per stage of the pipeline.
        confidence: (z, y, x) uint8, per cent: the network's softmax probability of the class that won, found on the
            network's grid and interpolated linearly to the CT's; 0 where the network did not look. None unless asked
            for. Networks are surer of themselves than they are right: an order, not a frequency.
        expectations: by structure's name, how sure the network was of what it drew, and what DSC that promises; empty
            for a model that tells nothing of that kind.
        source: the DICOM images of the CT; None where it was no DICOM.

    Example:
        >>> from flareseg.labels import by_name
        >>> liver, spleen = by_name("liver"), by_name("spleen")
        >>> labels = np.zeros((4, 8, 6), np.uint8)
        >>> labels[1:3, 2:6, 2:4] = liver.value
        >>> result = Segmentation(labels, Geometry((4, 8, 6), (5.0, 2.0, 2.0)), (liver, spleen), name="phantom")
        >>> [structure.name for structure in result.present()]
        ['liver']
    """

    labels: NDArray[np.uint8]
    geometry: Geometry
    structures: tuple[Structure, ...]
    name: str = "CT"
    model: str = ""
    notes: tuple[str, ...] = field(default=())
    seconds: dict[str, float] = field(default_factory=dict)
    confidence: NDArray[np.uint8] | None = None
    expectations: dict[str, Expectation] = field(default_factory=dict)
    source: Source | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape_zyx:
            raise ValueError(f"labels of shape {self.labels.shape} on a grid of {self.geometry.shape_zyx}")

    def present(self) -> tuple[Structure, ...]:
        """The structures that have at least one voxel."""
        missing = {structure.value for structure in self.structures}
        for plane in self.labels:
            # Looking for a byte in bytes is memchr: a histogram would take 50 times as long, and 8 bytes a voxel.
            data = plane.tobytes()
            missing -= {value for value in missing if value in data}
        return tuple(structure for structure in self.structures if structure.value not in missing)
