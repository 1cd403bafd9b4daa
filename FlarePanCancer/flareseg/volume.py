"""A CT in Hounsfield units with its geometry, and the way to the canonical orientation and back.

Arrays are (z, y, x). World coordinates are millimetres in DICOM's and ITK's LPS: x towards the patient's left,
y towards the back, z towards the head.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.nifti_transforms import NiftiForms
from flareseg.text import visible

Triple = tuple[float, float, float]
Index = tuple[int, int, int]
Box = tuple[slice, slice, slice]
"""Part of a (z, y, x) array."""


@dataclass(frozen=True)
class Geometry:
    """Where a (z, y, x) array lies in the patient.

    Attributes:
        shape_zyx: voxels per axis.
        spacing_zyx_mm: distance of neighbouring voxel centres per axis.
        origin_xyz_mm: LPS position of the centre of voxel [0, 0, 0].
        direction: 3 by 3, row-major; column j is the LPS unit vector along image axis x, y, z for j = 0, 1, 2
            (ITK's convention).
        nifti: how the NIfTI file that it was read from states it; a NIfTI written on this grid states the same.
            None for any other grid. Grids are equal whatever it says.

    Example:
        >>> grid = Geometry(shape_zyx=(41, 65, 65), spacing_zyx_mm=(5.0, 1.5, 1.5), origin_xyz_mm=(-48.0, -48.0, 0.0))
        >>> grid.world_of((40, 64, 0))  # LPS: right, back, head
        (-48.0, 48.0, 200.0)
        >>> grid.voxel_ml
        0.01125
    """

    shape_zyx: Index
    spacing_zyx_mm: Triple
    origin_xyz_mm: Triple = (0.0, 0.0, 0.0)
    direction: tuple[Triple, Triple, Triple] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    nifti: NiftiForms | None = field(default=None, compare=False, repr=False)

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_zyx_mm)) / 1000.0

    def index_to_world(self) -> NDArray[np.float64]:
        """4 by 4 matrix from (x, y, z) voxel index to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction) * np.asarray(self.spacing_zyx_mm[::-1])
        matrix[:3, 3] = self.origin_xyz_mm
        return matrix

    def world_of(self, index_zyx: Triple | Index) -> Triple:
        """LPS mm of a voxel index, which may be fractional."""
        x, y, z, _ = self.index_to_world() @ [*index_zyx[::-1], 1.0]
        return float(x), float(y), float(z)

    def same_as(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same voxels at the same places, to `tolerance_mm` at every corner."""
        if self.shape_zyx != other.shape_zyx:
            return False
        corners = [tuple(np.multiply(corner, np.subtract(self.shape_zyx, 1))) for corner in np.ndindex(2, 2, 2)]
        return all(np.allclose(self.world_of(c), other.world_of(c), rtol=0, atol=tolerance_mm) for c in corners)


@dataclass(frozen=True)
class WorldBox:
    """An axis-parallel box in the patient: lowest and highest LPS x, y, z in mm."""

    low_xyz_mm: Triple
    high_xyz_mm: Triple

    def in_grid(self, geometry: Geometry) -> Box:
        """The smallest part of the grid that holds every voxel centre inside the box; may be empty."""
        edges = (self.low_xyz_mm, self.high_xyz_mm)
        corners = np.array([[edges[i][0], edges[j][1], edges[k][2], 1.0] for i, j, k in np.ndindex(2, 2, 2)])
        indices = (corners @ np.linalg.inv(geometry.index_to_world()).T)[:, 2::-1]
        low = np.ceil(indices.min(axis=0) - 1e-6)
        high = np.floor(indices.max(axis=0) + 1e-6) + 1
        z, y, x = (
            slice(int(np.clip(start, 0, size)), int(np.clip(stop, 0, size)))
            for start, stop, size in zip(low, high, geometry.shape_zyx, strict=True)
        )
        return z, y, x


@dataclass(frozen=True)
class Orientation:
    """The axis permutation and flips that bring an array nearest to LPS: z to the head, y to the back, x to the left.

    Oblique volumes stay oblique: voxels are reordered, never interpolated.

    Attributes:
        axes: canonical array axis i is array axis axes[i].
        flipped: whether canonical array axis i runs against its array axis.
    """

    axes: Index
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, geometry: Geometry) -> Orientation:
        # rows: patient axis z, y, x; columns: array axis z, y, x
        cosines = np.asarray(geometry.direction)[::-1, ::-1]
        return cls._nearest(cosines)

    @classmethod
    def along(cls, geometry: Geometry, row: Triple, column: Triple) -> Orientation:
        """The one that brings an array nearest to DICOM images whose columns follow each other along `row`, and whose
        rows along `column`."""
        wanted = np.array([np.cross(row, column), column, row])
        return cls._nearest(wanted @ np.asarray(geometry.direction)[:, ::-1])

    @classmethod
    def _nearest(cls, cosines: NDArray[Any]) -> Orientation:
        best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[i, p[i]]) for i in range(3)))
        signs = [bool(cosines[i, best[i]] < 0) for i in range(3)]
        return cls(axes=(best[0], best[1], best[2]), flipped=(signs[0], signs[1], signs[2]))

    def to_canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of `array` in canonical order."""
        view: NDArray[Any] = array.transpose(self.axes)[self._slices()]
        return view

    def from_canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of the canonical `array` in the original order."""
        view: NDArray[Any] = array[self._slices()].transpose(np.argsort(self.axes))
        return view

    def geometry_to_canonical(self, geometry: Geometry) -> Geometry:
        start = [0, 0, 0]
        for axis, flip in zip(self.axes, self.flipped, strict=True):
            start[axis] = geometry.shape_zyx[axis] - 1 if flip else 0
        columns = np.asarray(geometry.direction)[:, ::-1]  # by array axis z, y, x
        signs = np.where(self.flipped, -1.0, 1.0)
        direction = (columns[:, self.axes] * signs)[:, ::-1]
        shape, spacing = geometry.shape_zyx, geometry.spacing_zyx_mm
        return Geometry(
            shape_zyx=(shape[self.axes[0]], shape[self.axes[1]], shape[self.axes[2]]),
            spacing_zyx_mm=(spacing[self.axes[0]], spacing[self.axes[1]], spacing[self.axes[2]]),
            origin_xyz_mm=geometry.world_of((start[0], start[1], start[2])),
            direction=as_rows(direction),
        )

    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)


@dataclass(frozen=True)
class SourceSlice:
    """The DICOM image of one slice.

    Attributes:
        instance_uid, class_uid: its SOP instance and SOP class; "" where the file does not say.
        series_uid: of its series.
        frame: its number in a multi-frame image, from 1 as in DICOM; None in an image of one frame.
        position_xyz_mm: LPS of the centre of the image's first pixel, as its header says it; None where it does not.
    """

    instance_uid: str
    class_uid: str
    series_uid: str
    frame: int | None = None
    position_xyz_mm: Triple | None = None


@dataclass(frozen=True)
class Source:
    """The DICOM images that a CT was read from, so that a result can refer to them; what they do not say is "".

    Attributes:
        slices: one for each slice of the array, in its order.
        axis: the axis of the (z, y, x) array along which they lie.
        study_uid: of the study; "" also where the slices do not agree.
        frame_of_reference_uid: of the space in which the slices lie.
        patient_id, patient_name: as in the files.
        study_date: as in the files, e.g. "20240131".
        row, column: LPS unit vectors along which the images' columns and rows follow each other.
        shifted: whether slices were moved in their planes onto an upright grid, which has more pixels than the images.
        patient_and_study: what the first image says of patient and study, as DICOM's JSON; results in DICOM repeat it.
    """

    slices: tuple[SourceSlice, ...]
    axis: int = 0
    study_uid: str = ""
    frame_of_reference_uid: str = ""
    patient_id: str = ""
    patient_name: str = ""
    study_date: str = ""
    row: Triple = (1.0, 0.0, 0.0)
    column: Triple = (0.0, 1.0, 0.0)
    shifted: bool = False
    patient_and_study: str = ""

    def oriented(self, orientation: Orientation) -> Source:
        """The same images, as they lie in the array that `orientation` makes."""
        axis = orientation.axes.index(self.axis)
        slices = self.slices[::-1] if orientation.flipped[axis] else self.slices
        return replace(self, slices=slices, axis=axis)


@dataclass(frozen=True)
class Volume:
    """One CT.

    Attributes:
        hu: (z, y, x) Hounsfield units, int16 (float32 only where the file held fractions).
        geometry: the grid of `hu`.
        name: how the case is called in messages and tables.
        notes: what a user should know about how it was read, e.g. "gantry tilt of 12 degrees"; one line each.
        source: the DICOM images that it was read from; None where it was no DICOM.

    Example:
        >>> hu = np.full((4, 8, 6), -1000, np.int16)
        >>> hu[1:3, 2:6, 2:4] = 40
        >>> feet_first = Geometry((4, 8, 6), (5.0, 2.0, 2.0), direction=((1, 0, 0), (0, 1, 0), (0, 0, -1)))
        >>> ct = Volume(hu, feet_first, name="phantom")
        >>> head_last = ct.canonical()  # the same voxels, from the feet to the head
        >>> bool((head_last.hu[0] == ct.hu[3]).all())
        True
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    geometry: Geometry
    name: str = "CT"
    notes: tuple[str, ...] = field(default=())
    source: Source | None = field(default=None, repr=False)  # it names the patient, who belongs in no log

    def __post_init__(self) -> None:
        if self.hu.shape != self.geometry.shape_zyx:
            raise ValueError(f"array of shape {self.hu.shape} on a grid of {self.geometry.shape_zyx}")
        # What they quote of headers and file names breaks no line.
        object.__setattr__(self, "notes", tuple(map(visible, self.notes)))

    def canonical(self) -> Volume:
        """The same voxels in canonical order (a view); `Orientation.of(self.geometry)` leads back."""
        return self.oriented(Orientation.of(self.geometry))

    def oriented(self, orientation: Orientation) -> Volume:
        """The same voxels in another order (a view); `orientation` leads back."""
        hu = orientation.to_canonical(self.hu)
        source = self.source.oriented(orientation) if self.source else None
        return replace(self, hu=hu, geometry=orientation.geometry_to_canonical(self.geometry), source=source)

    def part(self, box: Box) -> Volume:
        """The voxels in a box (a view), where they lie in the patient; without the DICOM images."""
        hu, corner = self.hu[box], (box[0].start, box[1].start, box[2].start)
        shape = (hu.shape[0], hu.shape[1], hu.shape[2])
        grid = replace(self.geometry, shape_zyx=shape, origin_xyz_mm=self.geometry.world_of(corner), nifti=None)
        return replace(self, hu=hu, geometry=grid, source=None)


def box_of(array: NDArray[Any]) -> Box | None:
    """The smallest part of a 3-D array, in any axis order, that holds all that is not 0; None where all is."""
    box: list[slice] = []
    for axis in range(3):
        # each axis only within the box of those before it
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(array[tuple(box)].any(axis=others))
        if not len(used):
            return None
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return box[0], box[1], box[2]


def as_rows(matrix: NDArray[Any]) -> tuple[Triple, Triple, Triple]:
    """A 3 by 3 array as nested tuples, which a frozen `Geometry` can hold and compare."""
    rows = [(float(row[0]), float(row[1]), float(row[2])) for row in matrix]
    return rows[0], rows[1], rows[2]
