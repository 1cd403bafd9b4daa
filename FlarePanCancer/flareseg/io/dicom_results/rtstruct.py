"""A DICOM structure set (RTSTRUCT) for radiotherapy planning: closed contours on the CT's axial images.

Written in implicit VR, as an explicit one has no room for a contour of more than 64 KB.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg import __version__
from flareseg.errors import InputError
from flareseg.io.dicom.headers import quiet_pydicom
from flareseg.io.dicom_results.contours import outlines
from flareseg.io.dicom_results.headers import (
    MANUFACTURER,
    NOT_FOR_CLINICS,
    PROGRAM,
    SERIES_NUMBERS,
    patient_and_study,
    reference,
    references_by_series,
)
from flareseg.io.dicom_results.planes import Planes, planes_of
from flareseg.io.dicom_results.segments import Segment, Segments, segments_of
from flareseg.labels import TUMOUR, Code
from flareseg.segmentation import Segmentation
from flareseg.text import shown
from flareseg.volume import Orientation, box_of

DECIMALS = 4
"""Of contour points in mm."""
STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired, which the standard still asks for


def check_axial(segmentation_orientation: Orientation, name: str, axis: int = 0) -> None:
    """See that the images of a CT are axial ones, as planning systems need them.

    Args:
        segmentation_orientation: of the grid of the CT, towards the canonical order.
        name: of the CT, for messages.
        axis: of the array, along which the images lie.

    Raises:
        InputError: where they are sagittal or coronal.
    """
    if segmentation_orientation.axes[0] != axis:
        raise InputError(
            f"'{shown(name)}' consists of sagittal or coronal images, on which planning systems take no structures; "
            "give the axial series of the CT, or leave out --rtstruct."
        )


def write_rtstruct(path: Path, segmentation: Segmentation, segments: Segments | None = None) -> None:
    """Write contours of all segments; new UIDs at every call.

    Args:
        path: where.
        segmentation: what was found.
        segments: of it, where they have been made for other objects too.

    Raises:
        InputError: when the CT does not come from axial DICOM images that say all that is needed.
        OSError: when it cannot be written.
    """
    segments = segments or segments_of(segmentation, planes_of(segmentation))
    source = segmentation.source
    check_axial(Orientation.of(segmentation.geometry), segmentation.name, source.axis if source else 0)
    with quiet_pydicom():
        made = make_rtstruct(segmentation, segments)
        made.save_as(path, enforce_file_format=True)


def make_rtstruct(segmentation: Segmentation, segments: Segments) -> Any:
    """The structure set as a pydicom data set."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

    source, now = segments.planes.source, datetime.now()
    made = Dataset()
    made.update({one.tag: one for one in patient_and_study(source) if not one.keyword.startswith("LossyImage")})
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.Modality, made.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    made.SeriesNumber, made.InstanceNumber = SERIES_NUMBERS["RTSTRUCT"], 1
    made.SeriesDescription = f"{PROGRAM} structures, {NOT_FOR_CLINICS.lower()}"
    made.OperatorsName = None
    made.Manufacturer, made.ManufacturerModelName, made.SoftwareVersions = MANUFACTURER, PROGRAM, __version__
    made.InstanceCreationDate = made.StructureSetDate = now.strftime("%Y%m%d")
    made.InstanceCreationTime = made.StructureSetTime = now.strftime("%H%M%S")
    made.StructureSetLabel, made.StructureSetName = PROGRAM, f"{PROGRAM} {segmentation.model}"[:64]
    made.StructureSetDescription = f"{NOT_FOR_CLINICS}; segmented without a person's review"
    made.ApprovalStatus = "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(segments.planes)]
    used = () if segments.nothing_found else segments.every
    made.StructureSetROISequence = [_region(one, source.frame_of_reference_uid, segmentation.model) for one in used]
    made.ROIContourSequence = [_contours(one, segments) for one in used]
    made.RTROIObservationsSequence = [_observation(one) for one in used]
    return made


def _frame_of_reference(planes: Planes) -> Any:
    series = [
        _item(SeriesInstanceUID=uid, ContourImageSequence=items)
        for uid, items in references_by_series(planes.source.slices).items()
    ]
    study = _item(
        ReferencedSOPClassUID=STUDY_COMPONENT,
        ReferencedSOPInstanceUID=planes.source.study_uid,
        RTReferencedSeriesSequence=series,
    )
    return _item(
        FrameOfReferenceUID=planes.source.frame_of_reference_uid,
        RTReferencedStudySequence=[study],
    )


def _region(segment: Segment, frame_of_reference_uid: str, model: str) -> Any:
    return _item(
        ROINumber=segment.number,
        ReferencedFrameOfReferenceUID=frame_of_reference_uid,
        ROIName=segment.label,
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=f"{PROGRAM} {model}"[:64],
    )


def _contours(segment: Segment, segments: Segments) -> Any:
    planes = segments.planes
    where = segments.numbers == segment.number
    box = box_of(where)
    assert box is not None, "a segment has voxels, unless nothing was found"
    contours = []
    for number in range(box[0].start, box[0].stop):
        for polygon in outlines(where[number][box[1:]]):
            corners = polygon + np.array([box[2].start, box[1].start])
            contours.append(_contour(_in_patient(corners, planes, number), planes, number))
    return _item(
        ReferencedROINumber=segment.number, ROIDisplayColor=list(segment.structure.colour), ContourSequence=contours
    )


def _in_patient(corners: NDArray[np.float64], planes: Planes, number: int) -> NDArray[np.float64]:
    """(n, 3) LPS mm of (n, 2) pixel coordinates x, y in a plane."""
    _, between_rows, between_columns = planes.spacing_zyx_mm
    along = np.array([np.array(planes.row) * between_columns, np.array(planes.column) * between_rows])
    places: NDArray[np.float64] = planes.positions_xyz_mm[number] + corners @ along
    return places


def _contour(points: NDArray[np.float64], planes: Planes, number: int) -> Any:
    image = reference(planes.source.slices[number])
    return _item(
        ContourImageSequence=[image],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[f"{mm:.{DECIMALS}f}".rstrip("0").rstrip(".") for mm in points.ravel()],
    )


def _observation(segment: Segment) -> Any:
    is_tumour = segment.structure.name == TUMOUR
    kind = _code(segment.structure.type)
    if segment.structure.modifier:
        kind.SegmentedPropertyTypeModifierCodeSequence = [_code(segment.structure.modifier)]
    return _item(
        ObservationNumber=segment.number,
        ReferencedROINumber=segment.number,
        ROIObservationLabel=segment.label[:16].rstrip(),
        RTROIIdentificationCodeSequence=[kind],
        RTROIInterpretedType="GTV" if is_tumour else "ORGAN",
        ROIInterpreter=None,
    )


def _code(code: Code) -> Any:
    return _item(CodeValue=code.value, CodingSchemeDesignator="SCT", CodeMeaning=code.meaning)


def _item(**elements: str | int | Sequence[Any] | None) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
