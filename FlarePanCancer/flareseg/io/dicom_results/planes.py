"""The labels of a CT as they lie in its DICOM images: plane by plane, with the image of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.segmentation import Segmentation
from flareseg.text import shown
from flareseg.volume import Geometry, Orientation, Source, Triple


@dataclass(frozen=True)
class Planes:
    """A grid whose planes are those of DICOM images.

    Attributes:
        source: the images, one for each plane, by ascending position along the normal.
        orientation: brings an array on the grid of the CT into (plane, row, column).
        positions_xyz_mm: (planes, 3), LPS of the centre of each plane's first pixel. They are what the images say, also
            where those are not quite evenly spaced; of images that were shifted in their planes, where that put them.
        shape_zyx: number of planes, rows, columns.
        spacing_zyx_mm: of planes (their mean), rows, columns.
    """

    source: Source
    orientation: Orientation
    positions_xyz_mm: NDArray[np.float64]
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: Triple

    @property
    def row(self) -> Triple:
        return self.source.row

    @property
    def column(self) -> Triple:
        return self.source.column


def check_source(source: Source | None, name: str) -> Source:
    """See that DICOM results can refer to the images of a CT.

    Args:
        source: of the CT.
        name: of the CT, for messages.

    Raises:
        InputError: saying what is missing.
    """
    title = shown(name)
    if source is None or not source.slices:
        raise InputError(
            f"'{title}' was not read from a DICOM series, to whose images results in DICOM refer; give the DICOM "
            "folder of the CT, or write another format."
        )
    missing = []
    if not source.study_uid:
        missing.append("one study (StudyInstanceUID)")
    if not source.frame_of_reference_uid:
        missing.append("a frame of reference (FrameOfReferenceUID)")
    if not all(one.instance_uid and one.class_uid and one.series_uid for one in source.slices):
        missing.append("an identity of each image (SOPClassUID, SOPInstanceUID, SeriesInstanceUID)")
    if any(one.position_xyz_mm is None for one in source.slices):
        missing.append("a position of each image (ImagePositionPatient)")
    if missing:
        raise InputError(
            f"The DICOM images of '{title}' do not say {' and '.join(missing)}, which results in DICOM must repeat; "
            "export the series again, or write another format."
        )
    return source


def planes_of(segmentation: Segmentation) -> Planes:
    """The planes of a segmentation, however its array lies.

    Raises:
        InputError: when it does not come from DICOM images that say all that is needed.
    """
    source = check_source(segmentation.source, segmentation.name)
    orientation = Orientation.along(segmentation.geometry, source.row, source.column)
    source = source.oriented(orientation)
    grid = orientation.geometry_to_canonical(segmentation.geometry)
    if source.axis != 0 or len(source.slices) != grid.shape_zyx[0]:
        raise InputError(f"The DICOM images of '{shown(segmentation.name)}' are not those of its slices.")
    return Planes(source, orientation, _positions(source, grid), grid.shape_zyx, grid.spacing_zyx_mm)


def _positions(source: Source, grid: Geometry) -> NDArray[np.float64]:
    said = np.array([one.position_xyz_mm for one in source.slices], np.float64)
    if not source.shifted:
        return said
    origin, normal = np.array(grid.origin_xyz_mm), np.cross(source.row, source.column)
    return origin + np.outer((said - origin) @ normal, normal)
