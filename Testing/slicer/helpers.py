"""CT nodes with something in them, label maps that belong to them, and processes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import slicer
import vtk

from FlarePanCancerLib.mrml_conversion import Labels, volume_of
from flareseg.io.files import write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation

SHAPE = (20, 24, 30)
LIVER, SPLEEN, TUMOUR = 1, 3, 14


def ct_node(hu=None, matrix=None, name="CT"):
    """A volume node; `matrix` is IJK to RAS, 4 by 4."""
    array = np.zeros(SHAPE, np.int16) if hu is None else hu
    node = slicer.util.addVolumeFromArray(array, name=name)
    if matrix is None:
        matrix = np.diag([-1.2, -0.9, 2.5, 1.0])
        matrix[:3, 3] = (50.0, 40.0, -30.0)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
    return node


def labels_array(shape=SHAPE):
    """Liver with a tumour, spleen."""
    labels = np.zeros(shape, np.uint8)
    labels[4:15, 5:18, 3:12], labels[6:14, 8:16, 18:26], labels[7:10, 8:12, 5:9] = LIVER, SPLEEN, TUMOUR
    return labels


def labels_for(ct, array, folder):
    """A label map as it comes from the engine, through a file."""
    from FlarePanCancerLib.mrml_conversion import read_result

    path = folder / "labels.nrrd"
    segmentation = Segmentation(array.astype(np.uint8), volume_of(ct).geometry, structures())
    write_segmentation(segmentation, path, overwrite=True)
    found: Labels = read_result(path)
    return found


def exported(segmentation_node, ct, segment_id):
    """The segment's voxels on the grid of the CT."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, ct) > 0


def orientations():
    """The 48 ways in which a file may hold a volume, as direction matrices."""
    from itertools import permutations, product

    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            for axis, (target, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[target, axis] = sign
            yield matrix


def ijk_to_ras(direction, spacing=(1.2, 0.9, 2.5), origin=(50.0, -40.0, 30.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = direction * np.asarray(spacing)
    matrix[:3, 3] = origin
    return matrix


def rotation(degrees, axis):
    transform = vtk.vtkTransform()
    transform.RotateWXYZ(degrees, *axis)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())[:3, :3]


def alive(pid):
    """Whether a process still runs; one that has ended and waits to be noticed does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split(")")[1].split()[0] != "Z"
    except OSError:
        return False
