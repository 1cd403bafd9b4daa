"""A result that was edited by hand, measured anew: the same rows as the engine gave of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from FlarePanCancerLib import scene
from FlarePanCancerLib.mrml_conversion import volume_of
from FlarePanCancerLib.results import Row, structure_of, whole_structures
from flareseg.results.measure import measure
from flareseg.segmentation import Segmentation


def measure_again(segmentation: Any, ct: Any, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Measure the segments that this module made, as they are now.

    Args:
        segmentation: vtkMRMLSegmentationNode.
        ct: the CT that it belongs to.
        rows: the measurements before, which say what was looked for, in which case, with which model.

    Returns:
        rows as of the engine's results/measure.py; of a structure whose segment is gone with 0 voxels.

    Raises:
        InputError: when the CT holds no image any more.
    """
    volume = volume_of(ct)
    structures = tuple(structure_of(row) for row in whole_structures(rows))
    values = {structure.name: structure.value for structure in structures}
    labels = _labels(segmentation, ct, values, volume.hu.shape)
    before = rows[0] if rows else {"case": ct.GetName(), "model": ""}
    found = Segmentation(labels, volume.geometry, structures, before["case"] or "", before["model"] or "")
    return [_as_sure_as(rows, row.as_row()) for row in measure(found, volume)]


def _as_sure_as(before: Sequence[Row], row: dict[str, Any]) -> dict[str, Any]:
    """A row with the DSC that was expected before, unless somebody edited the structure since."""
    same = ("structure", "lesion", "voxels", "mean_hu")
    kept = next((old for old in before if all(old[name] == row[name] for name in same)), None)
    return row | {"expected_dsc": kept.get("expected_dsc")} if kept is not None else row


def _labels(segmentation: Any, ct: Any, values: dict[str, int], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(z, y, x) label values of the module's own segments on the grid of the CT."""
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    own = {segment_id: values[name] for segment_id, name in scene.own_segments(segmentation).items() if name in values}
    labels = np.zeros(shape, np.uint8)
    if not own:
        return labels
    ids = vtk.vtkStringArray()
    for segment_id in sorted(own, key=lambda segment_id: own[segment_id]):
        ids.InsertNextValue(segment_id)
    grid, merged, matrix = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    grid.SetExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    grid.SetImageToWorldMatrix(matrix)
    whole = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    segmentation.GenerateMergedLabelmapForAllSegments(merged, whole, grid, ids)
    numbers = vtk_to_numpy(merged.GetPointData().GetScalars()).reshape(shape)
    # merged are the numbers of the segments in the order of their ids, from 1
    meant = np.array([0, *sorted(own.values())], np.uint8)
    np.take(meant, numbers, out=labels, mode="clip")
    return labels
