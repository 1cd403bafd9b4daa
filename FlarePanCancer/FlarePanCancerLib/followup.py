"""Results of two dates for `flareseg compare`, and what it says of them, shown at both dates side by side.

Nothing is compared here: the engine's results/followup/ does that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from FlarePanCancerLib.mrml_conversion import volume_of
from FlarePanCancerLib.results import world_of
from FlarePanCancerLib.scene import ct_of
from FlarePanCancerLib.translation import tr as _
from flareseg.io.files import write_segmentation
from flareseg.labels import by_name, is_known, structures
from flareseg.segmentation import Segmentation

TABLE = "followup.json"
VIEWS = ("Red", "Yellow")
"""Slice views of the earlier and of the later date."""
STUDY_DATE = "DICOM.StudyDate"
Lesion = Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """What is written for the engine: the arguments of its command line, and the file that it will write."""

    arguments: tuple[str, ...]
    table: Path


def write_for_engine(results: Sequence[Any], folder: Path) -> Command:
    """Write the segments that are called as known structures, as they are now, edited or not.

    Args:
        results: segmentation nodes, each with its CT in the scene.
        folder: for the files.

    Raises:
        ValueError: where a result has no CT, or no segment of a known structure; the message says what to do.
    """
    files = []
    for number, result in enumerate(results, 1):
        path = folder / f"{number}.nrrd"
        write_segmentation(_segmentation_of(result), path)
        files.append(str(path))
    table = folder / TABLE
    dates = [date_of(ct_of(result)) for result in results]
    dated = ("--dates", *dates) if all(dates) else ()
    return Command(("compare", *files, *dated, "-o", str(table)), table)


def date_of(ct: Any) -> str:
    """When a CT was scanned, YYYYMMDD, by the study in which it lies; "" where it is not known."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(ct) if ct else 0
    while item and item != hierarchy.GetSceneItemID():
        text = str(hierarchy.GetItemAttribute(item, STUDY_DATE) or "").replace("-", "")
        if len(text) == 8 and text.isdecimal():
            return text
        item = hierarchy.GetItemParent(item)
    return ""


@dataclass(frozen=True)
class Comparison:
    """What the engine found.

    Attributes:
        results: the segmentation nodes in the order of their dates.
        lesions: rows of the engine's JSON.
        verdict: the category and where it comes from.
        notes: what the user should know.
    """

    results: tuple[Any, ...]
    lesions: tuple[Lesion, ...]
    verdict: str
    notes: tuple[str, ...]


def read_comparison(table: Path, results: Sequence[Any]) -> Comparison:
    """Read what the engine wrote of `results`; it may have put them in another order.

    Raises:
        OSError, ValueError, KeyError: when the file is missing or damaged.
    """
    data = json.loads(table.read_text(encoding="utf-8"))
    ordered = tuple(results[int(scan["case"]) - 1] for scan in data["scans"])
    text = data["responses"][-1]["text"]
    notes = tuple(named(note, results) for note in data["notes"])
    return Comparison(ordered, tuple(data["lesions"]), text, notes)


def named(text: str, results: Sequence[Any]) -> str:
    """What the engine says, with the names of the nodes in place of those of the files written for it."""
    for number, result in enumerate(results, 1):
        text = text.replace(f"'{number}'", f"'{result.GetName()}'")
    return text


def show_dates(results: Sequence[Any]) -> None:
    """Give each of two results a slice view of its own, axial, with its CT."""
    import slicer

    for view, result in zip(VIEWS, results, strict=False):
        node = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{view}")
        composite = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{view}")
        if node is None or composite is None:
            continue
        composite.SetLinkedControl(False)
        ct = ct_of(result)
        composite.SetBackgroundVolumeID(ct.GetID() if ct else None)
        node.SetOrientation("Axial")
        display = result.GetDisplayNode()
        if display:
            display.SetVisibility(True)
            display.SetViewNodeIDs([node.GetID()])


def show_everywhere(results: Sequence[Any]) -> None:
    """Show results in all views again."""
    for result in results:
        display = result.GetDisplayNode()
        if display:
            display.RemoveAllViewNodeIDs()


def show_lesion_at_both(lesion: Lesion, results: Sequence[Any]) -> None:
    """Centre both views on a lesion, or on where it was or would be."""
    import slicer

    for view, result, scan in zip(VIEWS, results, lesion["scans"], strict=False):
        node = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{view}")
        if node is not None:
            node.JumpSliceByCentering(*world_of(scan["place_xyz_mm"], result))


def _segmentation_of(result: Any) -> Segmentation:
    import slicer

    ct = ct_of(result)
    if ct is None:
        raise ValueError(
            _("'{name}' has lost its CT; load it, or choose another result.").format(name=result.GetName())
        )
    volume = volume_of(ct)
    labels = np.zeros(volume.geometry.shape_zyx, np.uint8)
    segments = result.GetSegmentation()
    for number in range(segments.GetNumberOfSegments()):
        name = segments.GetNthSegment(number).GetName()
        if is_known(name):
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(result, segments.GetNthSegmentID(number), ct)
            labels[np.asarray(mask) > 0] = by_name(name).value
    if not labels.any():
        words = _("'{name}' has no segment called as an organ, such as 'Liver'.")
        raise ValueError(words.format(name=result.GetName()))
    return Segmentation(labels, volume.geometry, structures(), result.GetName())
