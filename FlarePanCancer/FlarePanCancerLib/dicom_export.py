"""Slicer's own window for DICOM export, one click away from the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

REPORTING = "quantitativereporting"
"""The module of the extension that writes DICOM segmentations and structured reports."""


def add_export_button(ui: Any, parameters: Callable[[], Any]) -> Any:
    """A button below the panel's results; returns it.

    Args:
        ui: the widgets of the panel by name.
        parameters: gives the parameter node, whose segmentation is exported.
    """
    button = qt.QPushButton(_("Export to DICOM…"))
    button.objectName = "exportDicomButton"
    button.setToolTip(_("Open Slicer's window for DICOM export, with the result chosen."))

    def export() -> None:
        choices = parameters()
        reason = export_result(choices.segmentation if choices is not None else None)
        if reason:
            slicer.util.infoDisplay(reason, windowTitle=_("Export to DICOM"))

    button.connect("clicked()", export)
    ui.resultsCollapsible.layout().addWidget(button)
    return button


def export_result(segmentation: Any) -> str:
    """Open the window; returns why it was not opened, and what to do, or ""."""
    reason = why_not(segmentation)
    if not reason:
        dialog = slicer.qSlicerDICOMExportDialog(None)
        dialog.setMRMLScene(slicer.mrmlScene)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        dialog.execDialog(hierarchy.GetItemByDataNode(segmentation))
    return reason


def why_not(segmentation: Any) -> str:
    """One sentence on why a result cannot be exported, and what to do; "" where it can."""
    if segmentation is None:
        return str(_("There is no result yet: press Segment first, or choose a result above."))
    if not hasattr(slicer, "qSlicerDICOMExportDialog"):
        return str(_("This Slicer was built without DICOM support."))
    if not hasattr(slicer.modules, REPORTING):
        return str(
            _(
                "Slicer alone writes no DICOM segmentations: install the extension QuantitativeReporting in the "
                "Extensions Manager, restart Slicer, and come back."
            )
        )
    if not _study_of(segmentation):
        return str(
            _(
                "The CT was not loaded from DICOM, so the result belongs to no study: in the module Data, put both "
                "under a study, or load the CT from the DICOM browser."
            )
        )
    return ""


def _study_of(node: Any) -> int:
    """The item of the study that a node belongs to; 0 where there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    item = hierarchy.GetItemByDataNode(node)
    return int(hierarchy.GetItemAncestorAtLevel(item, level)) if item else 0
