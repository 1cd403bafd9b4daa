"""Whether a file is DICOM, and its header."""

from __future__ import annotations

import io
import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from flareseg.io.dicom.bounded import Bounded
from flareseg.io.dicom.member import Source

HEADER_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ImageType",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "InstanceNumber",
    # what tells acquisitions apart
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ContentDate",
    "ContentTime",
    "TriggerTime",
    "NominalPercentageOfCardiacPhase",
    "SliceThickness",
    "ConvolutionKernel",
    "KVP",
    "ContrastBolusAgent",
    "ImageComments",
    # enhanced multi-frame objects
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
PATIENT_KEYWORDS = ("PatientID", "PatientName", "FrameOfReferenceUID", "StudyDate")
"""What is the same for all slices of a volume, and read once."""
REPEATED_KEYWORDS = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""Of patient, study and image: what results in DICOM must repeat."""
MARK = b"DICM"
BEGINNING = 1024
"""Bytes that hold the preamble and the file meta information."""
DEFLATED = b"1.2.840.10008.1.2.1.99"
EXPLICIT = b"1.2.840.10008.1.2.1\0\0\0"
MOST_INFLATED_BYTES = 256 << 20
BARE_META = re.compile(
    rb"\x02\x00[\x00-\x03\x10\x12\x13\x16-\x18\x26\x31\x35\x00\x02]\x00(UL|OB|UI|SH|AE|\x04\x00\x00\x00)", re.DOTALL
)
BARE_LITTLE = re.compile(rb"\x08\x00[\x00-\x96]\x00([A-Z]{2}|[\x00-\x80][\x00-\x04]\x00\x00)", re.DOTALL)
BARE_BIG = re.compile(rb"\x00\x08\x00[\x00-\x96][A-Z]{2}", re.DOTALL)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Without pydicom's warnings and logged tracebacks; the caller says what matters in one line."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def read_header(file: Source) -> Any | None:
    """The data set without its pixels; None where the file is not DICOM or cannot be read."""
    with quiet_pydicom():
        return header_of(file, beginning_of(file))


def beginning_of(file: Source) -> bytes:
    """The first bytes of a file; none of one that cannot be read, or states no size: some of the system's never end."""
    try:
        if isinstance(file, Path) and file.stat().st_size == 0:
            return b""
        with file.open("rb") as stream:
            return stream.read(BEGINNING)
    except (OSError, ValueError):
        return b""


def why_closed(file: Source) -> str:
    """Why a file of which there is no beginning cannot be read; "" where it is just empty."""
    try:
        with file.open("rb") as stream:
            stream.read(1)
    except (OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


def is_dicom(beginning: bytes) -> bool:
    """Whether a file begins like DICOM: with preamble and mark, or, as old files do, with group 2 or 8 at once."""
    return beginning[128:132] == MARK or is_bare(beginning)


def is_bare(beginning: bytes) -> bool:
    """Whether the data elements begin at once, without preamble."""
    return any(pattern.match(beginning) for pattern in (BARE_META, BARE_LITTLE, BARE_BIG))


def lost_its_mark(beginning: bytes) -> bool:
    """Whether a file has the elements of a DICOM file behind a damaged preamble or mark."""
    return beginning[128:132] != MARK and BARE_META.match(beginning, 132) is not None


def header_of(file: Source, beginning: bytes, keywords: tuple[str, ...] = HEADER_KEYWORDS) -> Any | None:
    """As `read_header`, for a file whose first bytes are known; the caller keeps pydicom quiet."""
    if not is_dicom(beginning):
        return None
    try:
        return read_data_set(file, beginning, stop_before_pixels=True, specific_tags=_tags_of(keywords))
    except Exception:  # pydicom raises errors of many kinds for damaged files, which are to be passed over
        return None


def read_data_set(file: Source, beginning: bytes, **options: Any) -> Any:
    """pydicom's data set of a file; whatever pydicom raises for a damaged one is raised."""
    import pydicom

    if not beginning:
        raise ValueError("it is empty")
    with file.open("rb") as stream:
        bounded: Any = Bounded(stream)
        if DEFLATED in beginning:
            bounded = Bounded(_inflated(bounded.read()))
        return pydicom.dcmread(bounded, force=is_bare(beginning), **options)


@cache
def _tags_of(keywords: tuple[str, ...]) -> list[Any]:
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    return [Tag(tag) for tag in map(tag_for_keyword, keywords) if tag is not None]


def _inflated(content: bytes) -> BinaryIO:
    """A deflated file as a plain one; pydicom would inflate without bound."""
    start = 132 if content[128:132] == MARK else 0
    # (0002,0000) UL 4 bytes: how long the rest of the file meta information is
    length = int.from_bytes(content[start + 8 : start + 12], "little")
    end = start + 12 + length
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = unpacker.decompress(content[end:], MOST_INFLATED_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError(f"it unpacks to more than {MOST_INFLATED_BYTES >> 20} MB")
    return io.BytesIO(content[:end].replace(DEFLATED, EXPLICIT) + inflated)
