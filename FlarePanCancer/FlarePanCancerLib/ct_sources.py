"""Which CTs are meant by "all of the scene" and by "what is selected in the DICOM browser"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

KIND = "vtkMRMLScalarVolumeNode"
MODALITY = "DICOM.Modality"
MODALITY_TAG = "0008,0060"


def cts_of_scene() -> list[Any]:
    """Volumes that the user sees in selectors, without those that are known to be of another modality."""
    import slicer

    nodes = slicer.util.getNodesByClass(KIND)
    return [node for node in nodes if _may_be_ct(node)]


def selected_series() -> list[str]:
    """UIDs of the CT series that are selected in the DICOM browser: of a patient or a study, where no series is.

    Empty where nothing is selected, or the browser has not been opened yet.
    """
    import slicer

    module = getattr(slicer.modules, "DICOMInstance", None)
    browser = getattr(module, "browserWidget", None)
    database = getattr(slicer, "dicomDatabase", None)
    if browser is None or database is None or not database.isOpen:
        return []
    return [uid for uid in _selected(browser, database) if _modality(uid, database) == "CT"]


def load_series(uid: str) -> list[Any]:
    """The CT nodes of a series: those that are in the scene already, or else of what Slicer loads.

    Raises:
        Exception: whatever Slicer's DICOM module raises.
    """
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    there = hierarchy.GetItemByUID("DICOM", uid)
    node = hierarchy.GetItemDataNode(there) if there else None
    if node is not None and node.IsA(KIND):
        return [node]
    from DICOMLib import DICOMUtils

    nodes = [slicer.mrmlScene.GetNodeByID(node_id) for node_id in DICOMUtils.loadSeriesByUID([uid])]
    return [node for node in nodes if node is not None and node.GetClassName() == KIND]


def title_of_series(uid: str) -> str:
    """Patient and series in a few words, before it is loaded."""
    import slicer

    database = slicer.dicomDatabase
    files = database.filesForSeries(uid)
    words = [database.fileValue(files[0], tag).strip() for tag in ("0010,0010", "0008,103e")] if files else []
    return " ".join(word for word in words if word) or uid


def _may_be_ct(node: Any) -> bool:
    import slicer

    if node.GetClassName() != KIND or node.GetHideFromEditors() or node.GetImageData() is None:
        return False
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    return not item or hierarchy.GetItemAttribute(item, MODALITY) in ("", "CT")


def _selected(browser: Any, database: Any) -> Sequence[str]:
    """Series, whichever of the two browsers is shown."""
    visual = getattr(browser, "dicomVisualBrowser", None)
    if visual is not None and visual.visible and hasattr(visual, "patientView"):
        view = visual.patientView()
        patients, studies, series = view.selectedPatientUIDs(), (), view.selectedSeriesInstanceUIDs()
    else:
        tables = browser.dicomBrowser.dicomTableManager()
        patients, studies = tables.currentPatientsSelection(), tables.currentStudiesSelection()
        series = tables.currentSeriesSelection()
    if series:
        return list(series)
    chosen = list(studies) or [study for patient in patients for study in database.studiesForPatient(patient)]
    return [uid for study in chosen for uid in database.seriesForStudy(study)]


def _modality(uid: str, database: Any) -> str:
    files = database.filesForSeries(uid)
    return str(database.fileValue(files[0], MODALITY_TAG)).strip() if files else ""
