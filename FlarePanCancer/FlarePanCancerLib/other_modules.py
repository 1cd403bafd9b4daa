"""Slicer's own modules, opened with a result and its CT already chosen."""

from __future__ import annotations

from typing import Any

import slicer


def edit_segments(segmentation: Any, ct: Any) -> None:
    """Open the Segment Editor on a segmentation and its CT."""
    editor = _opened("SegmentEditor").editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(ct)


def open_statistics(segmentation: Any, ct: Any) -> None:
    """Open Segment Statistics on a segmentation and its CT; its Apply is the user's."""
    widget = _opened("SegmentStatistics")
    widget.segmentationSelector.setCurrentNode(segmentation)
    widget.scalarSelector.setCurrentNode(ct)


def _opened(name: str) -> Any:
    slicer.util.selectModule(name)
    return getattr(slicer.modules, name.lower()).widgetRepresentation().self()
