"""The coarse net, which finds the part of the body that can hold abdominal organs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flareseg.inference.case import Case
from flareseg.inference.engine import Engine
from flareseg.inference.orientation import network_orientation
from flareseg.inference.postprocessing import FAT_HU
from flareseg.inference.region import region_of_labels
from flareseg.model.structures import structures_of
from flareseg.segmentation import Segmentation
from flareseg.volume import Box, Triple


class CoarseNet:
    """A network for whole bodies on a coarse grid.

    Args:
        engine: the network, applied to parts of CTs.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find_region(self, case: Case, body: Box) -> Box | None:
        """The part of the body with abdominal organs and a margin; None where there are none."""
        labels, tissue = self._look(case, body)
        z, y, x = scale = _scale(body, labels)
        if case.preview:
            case.preview(self._segmentation(case, labels, body))
        along_z, along_y, along_x = case.spacing_zyx_mm
        # In patients unlike those it knows, this net takes fat below the skin and air around it for organs.
        return region_of_labels(np.where(tissue, labels, 0), (z * along_z, y * along_y, x * along_x), scale, body)

    def body_axis(self, case: Case) -> int:
        """The axis of the CT along the body, which is the first one that this net sees."""
        return network_orientation(self._engine.plan, case.ct.geometry).axes[0]

    def _look(self, case: Case, body: Box) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """(z, y, x) labels, and what is neither air nor fat, both on the net's own grid over the body's box, but with
        the axes of the CT."""
        # The CT lies as the main net wants it, this one may want it otherwise.
        orientation = network_orientation(self._engine.plan, case.ct.geometry)
        spacing = orientation.geometry_to_canonical(case.ct.geometry).spacing_zyx_mm
        hu = orientation.to_canonical(case.ct.hu[body])
        labels, seen_hu = self._engine.coarse_labels(hu, spacing, case.progress)
        back = orientation.from_canonical
        return np.ascontiguousarray(back(labels)), back(seen_hu) > FAT_HU

    def _segmentation(self, case: Case, labels: NDArray[np.uint8], body: Box) -> Segmentation:
        """The labels with their meaning, on the coarse grid that fills the body's box."""
        grid, scale = case.ct.geometry, _scale(body, labels)
        first = [part.start + (step - 1) / 2 for part, step in zip(body, scale, strict=True)]
        spacing = [mm * step for mm, step in zip(grid.spacing_zyx_mm, scale, strict=True)]
        geometry = replace(
            grid,
            shape_zyx=(labels.shape[0], labels.shape[1], labels.shape[2]),
            spacing_zyx_mm=(spacing[0], spacing[1], spacing[2]),
            origin_xyz_mm=grid.world_of((first[0], first[1], first[2])),
        )
        kept = np.zeros(256, np.uint8)
        for channel, structure in enumerate(structures_of(self._engine.plan), 1):
            if structure in case.wanted:
                kept[channel] = structure.value
        return Segmentation(kept[labels], geometry, case.wanted, case.ct.name, case.model)


def _scale(box: Box, labels: NDArray[np.uint8]) -> Triple:
    """Voxels of the CT per voxel of the labels that fill a box of it, along each axis."""
    z, y, x = ((part.stop - part.start) / size for part, size in zip(box, labels.shape, strict=True))
    return z, y, x
