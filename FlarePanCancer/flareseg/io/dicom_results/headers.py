"""What all DICOM results share: patient and study of the CT, the program that made them, references to images."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from flareseg import __version__
from flareseg.errors import UsageError
from flareseg.io.dicom.headers import quiet_pydicom
from flareseg.io.dicom_results.planes import Planes
from flareseg.volume import Source, SourceSlice

MANUFACTURER = "SlicerFlarePanCancer"
PROGRAM = "flareseg"
NOT_FOR_CLINICS = "Research use only"
SERIES_NUMBERS = {"SEG": 9901, "SR": 9902, "RTSTRUCT": 9903}
REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Every object of a patient and study has them, empty where they are not known."""
STRICT = ("AS", "CS", "DA", "DS", "TM")
"""Kinds of values of which those that DICOM does not allow are left out."""


def need_highdicom() -> None:
    """See that highdicom is installed.

    Raises:
        UsageError: saying how to install it.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise UsageError(
            "DICOM segmentations and reports are written by the package highdicom, which is not installed; "
            "run: pip install highdicom."
        ) from None


def patient_and_study(source: Source) -> Any:
    """A pydicom data set with the elements of patient, study and frame of reference, in Unicode.

    A value that DICOM does not allow, such as a date of four digits, is left out, for an archive would refuse it.
    """
    from pydicom.dataset import Dataset

    result = Dataset()
    result.SpecificCharacterSet = "ISO_IR 192"
    for keyword in REQUIRED:
        setattr(result, keyword, None)
    for tag, element in json.loads(source.patient_and_study or "{}").items():
        one = _element(tag, element)
        if one is not None:
            result.add(one)
    if result.PatientSex not in ("M", "F", "O"):
        result.PatientSex = None
    result.StudyInstanceUID = source.study_uid
    result.FrameOfReferenceUID = source.frame_of_reference_uid
    result.PositionReferenceIndicator = result.get("PositionReferenceIndicator", None)
    return result


def _element(tag: str, element: dict[str, Any]) -> Any | None:
    """An element from DICOM's JSON; None where it is a date, a time or the like, and its value is not allowed.

    Names and numbers of a patient stay as they are: an archive finds the patient by them.
    """
    from pydicom import config
    from pydicom.dataset import Dataset
    from pydicom.valuerep import DA, TM, validate_value

    with suppress(Exception), quiet_pydicom():  # pydicom raises errors of many kinds for such values
        found = next(iter(Dataset.from_json({tag: element})))
        if found.VR in STRICT and found.value:
            validate_value(found.VR, str(found.value), config.RAISE)
            if found.VR in ("DA", "TM"):
                (DA if found.VR == "DA" else TM)(str(found.value))
        return found
    return None


def images_of(source: Source) -> list[Any]:
    """A header for each DICOM image that was read, once, as far as references need it."""
    once: dict[str, Any] = {}
    for one in source.slices:
        if one.instance_uid not in once:
            image = patient_and_study(source) if not once else _copy(next(iter(once.values())))
            image.SOPClassUID, image.SOPInstanceUID = one.class_uid, one.instance_uid
            image.SeriesInstanceUID, image.Modality = one.series_uid, "CT"
            once[one.instance_uid] = image
    return list(once.values())


def plane_images(planes: Planes) -> list[Any]:
    """A header for each plane, as if each were a plain CT image with the UID "2.25.N", N from 0.

    highdicom makes objects only from images of one series and of one kind, and reads their places from them; the
    references that it writes are corrected afterwards by `refer`.
    """
    from pydicom.uid import CTImageStorage
    from pydicom.valuerep import format_number_as_ds

    shared = patient_and_study(planes.source)
    shared.SOPClassUID, shared.SeriesInstanceUID = CTImageStorage, planes.source.slices[0].series_uid
    shared.Modality = "CT"
    shared.Rows, shared.Columns = planes.shape_zyx[1:]
    between, row, column = (format_number_as_ds(mm) for mm in planes.spacing_zyx_mm)
    shared.PixelSpacing = [row, column]
    shared.SliceThickness = shared.SpacingBetweenSlices = between
    shared.ImageOrientationPatient = [format_number_as_ds(cosine) for cosine in (*planes.row, *planes.column)]
    result = []
    for number, position in enumerate(planes.positions_xyz_mm):
        image = _copy(shared)
        image.SOPInstanceUID = f"2.25.{number}"
        image.ImagePositionPatient = [format_number_as_ds(float(mm)) for mm in position]
        result.append(image)
    return result


def reference(one: SourceSlice) -> Any:
    """An item that refers to the image of a slice, by its frame where it has several."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.class_uid, one.instance_uid
    if one.frame is not None:
        item.ReferencedFrameNumber = one.frame
    return item


def references_by_series(slices: Iterable[SourceSlice]) -> dict[str, list[Any]]:
    """Items that refer to every image once, without frames, by the series in which they are."""
    result: dict[str, dict[str, Any]] = {}
    for one in slices:
        item = reference(one)
        item.pop("ReferencedFrameNumber", None)
        result.setdefault(one.series_uid, {}).setdefault(one.instance_uid, item)
    return {series: list(items.values()) for series, items in result.items()}


def equipment() -> dict[str, str]:
    """The program that makes the objects, as highdicom's arguments."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": PROGRAM,
        "software_versions": __version__,
        "device_serial_number": "0",
    }


def name_and_version(model: str) -> tuple[str, str]:
    """Of what segmented: the model's name, and its version with that of the program."""
    name, _, version = (model or "unknown").partition(" ")
    return f"{PROGRAM} {name}"[:64], f"{version or '0'}, {PROGRAM} {__version__}"[:64]


def _copy(image: Any) -> Any:
    from pydicom.dataset import Dataset

    copy = Dataset()
    copy.update(image)
    return copy
