"""The CT in hand: what was asked for, and what has been found so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import UsageError
from flareseg.inference.evidence import Evidence
from flareseg.labels import Structure
from flareseg.progress import Progress
from flareseg.segmentation import Segmentation
from flareseg.volume import Box, Triple, Volume, WorldBox


@dataclass
class Case:
    """One CT on its way through a model.

    Attributes:
        ct: in the order in which the main network sees it.
        wanted: the structures to keep.
        progress: where every stage is reported.
        labels: (z, y, x) uint8 on the grid of `ct`; grows as structures are found.
        certainty: the same for the confidence; None where nobody asked for it.
        evidence: what the network said of each structure; grows too. None where a model tells nothing of that kind.
        new: what of the part in hand was not counted in `evidence` before, in voxels from its corner; all where None.
        roi: part of `ct` to look in; everywhere where None.
        preview: see `Segmenter.segment`.
        model: name and version of the model, for the record.
    """

    ct: Volume
    wanted: tuple[Structure, ...]
    progress: Progress
    labels: NDArray[np.uint8]
    certainty: NDArray[np.uint8] | None = None
    evidence: Evidence | None = None
    new: Box | None = None
    roi: Box | None = None
    preview: Callable[[Segmentation], None] | None = None
    model: str = ""

    @property
    def spacing_zyx_mm(self) -> Triple:
        """Of the voxels of `ct`."""
        return self.ct.geometry.spacing_zyx_mm

    def wants(self, name: str) -> bool:
        """Whether the structure of this name is to be kept."""
        return any(structure.name == name for structure in self.wanted)

    def within_roi(self, box: Box) -> Box | None:
        """The part of a box that lies in the region of interest, or None."""
        if self.roi is None:
            return box
        z, y, x = (slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(box, self.roi, strict=True))
        return (z, y, x) if all(part.start < part.stop for part in (z, y, x)) else None

    def keep_wanted(self) -> None:
        """Make background of all other structures."""
        kept = np.zeros(256, np.uint8)
        values = [structure.value for structure in self.wanted]
        kept[values] = values
        np.take(kept, self.labels, out=self.labels)


def roi_in(ct: Volume, roi: WorldBox) -> Box:
    """The region of interest as a part of `ct`.

    Raises:
        UsageError: when it lies outside.
    """
    box = roi.in_grid(ct.geometry)
    if any(part.start >= part.stop for part in box):
        raise UsageError(f"The region of interest lies outside the CT '{ct.name}'.")
    return box
