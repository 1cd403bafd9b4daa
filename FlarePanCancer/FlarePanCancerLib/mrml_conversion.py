"""Between MRML's volumes and the engine's: which CT a node holds, and the file through which the engine gets it.

All of it happens on the main thread, which is the window's: a CT is written in steps, and of a result no more is read
than what was found.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from FlarePanCancerLib.translation import tr as _
from flareseg.errors import InputError
from flareseg.nifti_transforms import LPS_TO_RAS
from flareseg.volume import Geometry, Triple, Volume, as_rows

SHEAR = 1e-3
"""Largest cosine between two axes that still counts as a right angle."""
BYTES_A_STEP = 2**23
"""Of a CT that is written: a few milliseconds."""
Extent = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Labels:
    """A label map as it comes from the engine, cut to what is not background.

    Attributes:
        array: (z, y, x) uint8, C order.
        extent: VTK's: first and last index of `array` along x, y, z of `geometry`'s grid.
        geometry: of the whole grid.
        values: the label values that occur, ascending, without 0.
    """

    array: NDArray[np.uint8]
    extent: Extent
    geometry: Geometry
    values: tuple[int, ...]


def is_sequence(node: Any) -> bool:
    """Whether a node is a sequence, of whatever."""
    return bool(node is not None and node.IsA("vtkMRMLSequenceNode"))


def volume_of(node: Any) -> Volume:
    """The CT of a scalar volume node, in its own coordinates: what transforms it transforms the result too.

    The array is the node's own memory.

    Raises:
        InputError: when the node holds no single 3-D image.
    """
    import slicer

    image = node.GetImageData()
    name = node.GetName() or "CT"
    if image is None or image.GetNumberOfPoints() == 0:
        raise InputError(f"'{name}' holds no image yet.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(f"'{name}' has several values a voxel; choose a CT.")
    array = slicer.util.arrayFromVolume(node)
    if min(array.shape) < 2:
        raise InputError(f"'{name}' is a single slice; choose a volume.")
    return Volume(array, geometry_of(node, array.shape, name), name)


def geometry_of(node: Any, shape_zyx: tuple[int, ...], name: str) -> Geometry:
    """The grid of a volume node.

    Raises:
        InputError: when its axes are not at right angles.
    """
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    # MRML's world is RAS, the engine's LPS: x and y change sign, both ways
    ijk_to_lps = LPS_TO_RAS @ ijk_to_ras
    steps = ijk_to_lps[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    direction = steps / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=SHEAR):
        words = _("The axes of '{name}' are not at right angles; resample it first (module Resample Scalar).")
        raise InputError(words.format(name=name))
    z, y, x = shape_zyx
    origin = ijk_to_lps[:3, 3]
    return Geometry(
        shape_zyx=(z, y, x),
        spacing_zyx_mm=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        origin_xyz_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=as_rows(direction),
    )


def roi_of(roi: Any, ct: Any) -> tuple[float, ...]:
    """The box around a region-of-interest node in the CT's own coordinates, as the engine wants it (LPS, mm)."""
    import slicer
    import vtk

    bounds = [0.0] * 6
    roi.GetRASBounds(bounds)
    corners = np.array([[x, y, z] for x in bounds[:2] for y in bounds[2:4] for z in bounds[4:]])
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, ct.GetParentTransformNode(), transform)
    local = np.array([transform.TransformPoint(corner) for corner in corners]) @ LPS_TO_RAS[:3, :3]
    low, high = local.min(axis=0), local.max(axis=0)
    return tuple(float(value) for pair in zip(low, high, strict=True) for value in pair)


def write_ct(volume: Volume, path: Path) -> Generator[None, None, None]:
    """Write the CT for the engine, as fast as the disk takes it: NRRD without compression, in the node's own type.

    Every step of the generator writes `BYTES_A_STEP` at most, or a slice. The file is there when the last one is done;
    a generator that is closed before leaves nothing.

    Raises:
        OutputError: when it cannot be written.
    """
    from flareseg.io.atomic import atomic_path
    from flareseg.io.nrrd import nrrd_header

    hu = volume.hu
    slices = max(BYTES_A_STEP // max(hu[0].nbytes, 1), 1)
    with atomic_path(path, overwrite=True) as partial, partial.open("wb") as file:
        file.write(nrrd_header(hu.dtype, volume.geometry, {}, compressed=False))
        for first in range(0, len(hu), slices):
            file.write(np.ascontiguousarray(hu[first : first + slices], hu.dtype.newbyteorder("<")).data)
            yield


def read_result(path: Path) -> Labels:
    """Read a label map of the engine, cut to what is not background; one voxel where there is nothing else."""
    from flareseg.io.files import LABELS_ENDING, read_labels
    from flareseg.io.labels_nrrd import cut_to_labels, read_labels_nrrd

    found = read_labels_nrrd(path) if path.name.endswith(LABELS_ENDING) else cut_to_labels(*read_labels(path))
    if found.box is None:
        return Labels(np.zeros((1, 1, 1), np.uint8), (0, 0, 0, 0, 0, 0), found.geometry, ())
    z, y, x = found.box
    extent = (x.start, x.stop - 1, y.start, y.stop - 1, z.start, z.stop - 1)
    return Labels(found.labels, extent, found.geometry, found.values)


def to_ras(point_lps: Triple | tuple[float, ...] | list[float]) -> tuple[float, float, float]:
    """An LPS point as MRML has it."""
    x, y, z = point_lps
    return -x, -y, z
