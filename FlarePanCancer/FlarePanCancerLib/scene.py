"""What the engine found, as nodes of the scene: one segmentation node with named, coloured, coded segments.

All segments share one label map, which is taken over as it is: nothing is copied for each of them. Segments that this
module made carry a tag, so that it replaces its own and leaves everybody else's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from FlarePanCancerLib.mrml_conversion import Labels
from FlarePanCancerLib.translation import tr as _
from flareseg.io.seg_nrrd import terminology
from flareseg.labels import TUMOUR, Structure, structures
from flareseg.nifti_transforms import LPS_TO_RAS

TAG = "FlarePanCancer.Structure"
SMOOTHING = 0.5
ORGANS_OPACITY_3D = 0.6
"""Of organs while there is a tumour: one sees it inside them."""
BINARY = "Binary labelmap"


def new_segmentation(ct: Any, name: str = "") -> Any:
    """An empty segmentation node for a CT."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLSegmentationNode", name or _("{ct} organs").format(ct=ct.GetName())
    )
    node.CreateDefaultDisplayNodes()
    attach(node, ct)
    return node


def ct_of(segmentation: Any) -> Any:
    """The CT that a segmentation belongs to; None where it belongs to none, or that one is gone."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def may_hold(segmentation: Any, ct: Any) -> bool:
    """Whether the result of a CT may go into a segmentation: that belongs to the CT, or nothing of a run is in it yet.

    A result never changes its patient.
    """
    owner = ct_of(segmentation)
    if owner is None:
        return not own_segments(segmentation)
    return bool(owner.GetID() == ct.GetID())


def attach(node: Any, ct: Any) -> None:
    """Put a segmentation where its CT is: grid, transform, study."""

    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    node.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    put_beside(node, ct)


def put_beside(node: Any, other: Any) -> None:
    """Put a node under the same study, or folder, as another."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    there = hierarchy.GetItemByDataNode(other)
    parent = hierarchy.GetItemParent(there) if there else 0
    if not parent:
        return
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:  # where no one makes an item for every new node, such as outside the application
        hierarchy.CreateItem(parent, node)


def fill(node: Any, labels: Labels, wanted: Iterable[Structure] | None = None) -> list[Structure]:
    """Put the structures of a label map into a segmentation, in place of those that this module put there before.

    Args:
        node: vtkMRMLSegmentationNode.
        labels: what was found.
        wanted: what was looked for; of other structures segments of an earlier run stay. All unless given.

    Returns:
        the structures that were found.
    """
    looked_for = tuple(structures() if wanted is None else wanted)
    values = set(labels.values)
    found = [structure for structure in looked_for if structure.value in values]
    with batched_events(node):
        remove_own(node, looked_for)
        image = _image_of(labels)
        for structure in found:
            node.GetSegmentation().AddSegment(_segment(structure, image), _free_id(node, structure))
    _show_tumour_in_front(node)
    return found


def remove_own(node: Any, these: Iterable[Structure] | None = None) -> None:
    """Take away the segments that this module made, of `these` structures or of all."""
    names = None if these is None else {structure.name for structure in these}
    gone = {segment_id for segment_id, name in own_segments(node).items() if names is None or name in names}
    segmentation = node.GetSegmentation()
    every = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    kept = [_label_map(segmentation, segment_id) for segment_id in every if segment_id not in gone]
    for segment_id in gone:
        if _label_map(segmentation, segment_id) not in kept:
            # nobody else needs the label map: it goes as a whole, not one label after the other
            segmentation.GetSegment(segment_id).RemoveRepresentation(BINARY)
    for segment_id in gone:
        segmentation.RemoveSegment(segment_id)


def _label_map(segmentation: Any, segment_id: str) -> Any:
    return segmentation.GetSegment(segment_id).GetRepresentation(BINARY)


def own_segments(node: Any) -> dict[str, str]:
    """Ids of the segments that this module made, and the structures they are."""
    import vtk

    result = {}
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        name = vtk.reference("")
        if segmentation.GetSegment(segment_id).GetTag(TAG, name):
            result[segment_id] = str(name)
    return result


def show_surfaces(node: Any, smoothing: float = SMOOTHING) -> None:
    """Make smoothed closed surfaces of all segments, and show them in 3D views."""
    segmentation = node.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", str(smoothing))
    node.CreateClosedSurfaceRepresentation()
    display = node.GetDisplayNode()
    if display:
        display.SetPreferredDisplayRepresentationName3D("Closed surface")
        display.SetVisibility3D(True)


def _segment(structure: Structure, image: Any) -> Any:
    import slicer

    segment = slicer.vtkSegment()
    segment.SetName(structure.title)
    segment.SetColor(*(component / 255 for component in structure.colour))
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology(structure))
    segment.SetTag(TAG, structure.name)
    segment.SetLabelValue(structure.value)
    segment.AddRepresentation(BINARY, image)
    return segment


def _free_id(node: Any, structure: Structure) -> str:
    """The structure's name, or one like it where somebody else's segment is called so."""
    unique: str = node.GetSegmentation().GenerateUniqueSegmentID(structure.name)
    return unique


def _image_of(labels: Labels) -> Any:
    """The label map as VTK has it; shares the array's memory."""
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = slicer.vtkOrientedImageData()
    image.SetExtent(*labels.extent)
    scalars = numpy_to_vtk(labels.array.ravel(), deep=False, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("labels")
    image.GetPointData().SetScalars(scalars)
    ijk_to_ras = LPS_TO_RAS @ labels.geometry.index_to_world()
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    return image


def _show_tumour_in_front(node: Any) -> None:
    """Organs are translucent in 3D as long as there is a tumour; segments later in the list lie over earlier ones."""
    display = node.GetDisplayNode()
    own = own_segments(node)
    if display is None:
        return
    opacity = ORGANS_OPACITY_3D if TUMOUR in own.values() else 1.0
    for segment_id, name in own.items():
        display.SetSegmentOpacity3D(segment_id, 1.0 if name == TUMOUR else opacity)


@contextmanager
def batched_events(node: Any) -> Iterator[None]:
    """Observers of a node are called once, at the end, instead of at every segment."""
    was = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(was)
