"""A DICOM segmentation: one binary frame for each segment and plane, pixel for pixel on the images of the CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flareseg.io.dicom.headers import quiet_pydicom
from flareseg.io.dicom_results.headers import (
    NOT_FOR_CLINICS,
    PROGRAM,
    SERIES_NUMBERS,
    equipment,
    name_and_version,
    need_highdicom,
    plane_images,
    reference,
    references_by_series,
)
from flareseg.io.dicom_results.planes import Planes, planes_of
from flareseg.io.dicom_results.segments import Segment, Segments, segments_of
from flareseg.labels import Code
from flareseg.segmentation import Segmentation

KEY = "2.25."
"""How the UIDs of `plane_images` begin."""


def write_seg(path: Path, segmentation: Segmentation) -> None:
    """Write a segmentation as DICOM; new UIDs at every call.

    Raises:
        InputError: when the CT does not come from DICOM images that say all that is needed.
        UsageError: without highdicom.
        OSError: when it cannot be written.
    """
    need_highdicom()
    save(path, make_seg(segmentation, segments_of(segmentation, planes_of(segmentation))))


def save(path: Path, made: Any) -> None:
    """Write a finished object; raises OSError."""
    with quiet_pydicom():
        made.save_as(path, enforce_file_format=True)


def make_seg(segmentation: Segmentation, segments: Segments) -> Any:
    """The DICOM segmentation as a data set of highdicom."""
    from highdicom.seg import Segmentation as Seg
    from highdicom.seg import SegmentationTypeValues
    from pydicom.uid import generate_uid

    planes, numbers = segments.planes, segments.numbers
    images = plane_images(planes)
    if segments.nothing_found:  # one empty frame says so as well as one for every plane
        images, numbers = images[:1], numbers[:1]
    found = "nothing found" if segments.nothing_found else segmentation.model
    with quiet_pydicom():
        made = Seg(
            source_images=images,
            pixel_array=numbers,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_described(one, segmentation.model) for one in segments.every],
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBERS["SEG"],
            sop_instance_uid=generate_uid(),
            instance_number=1,
            content_label=PROGRAM.upper(),
            content_description=f"{NOT_FOR_CLINICS}; {found}"[:64],
            content_creator_name=f"{PROGRAM}^",
            series_description=f"{PROGRAM} segmentation, {NOT_FOR_CLINICS.lower()}",
            **equipment(),
        )
        _refer(made, planes)
    return made


def _refer(made: Any, planes: Planes) -> None:
    """Put the true images in the place of those of `plane_images`."""
    from pydicom.dataset import Dataset

    slices = planes.source.slices
    by_series = references_by_series(slices)
    made.SourceImageSequence = [item for items in by_series.values() for item in items]
    made.ReferencedSeriesSequence = []
    for series, items in by_series.items():
        one = Dataset()
        one.SeriesInstanceUID, one.ReferencedInstanceSequence = series, items
        made.ReferencedSeriesSequence.append(one)
    # frames of one plane share an item
    derived = {
        id(item): item
        for group in made.PerFrameFunctionalGroupsSequence
        for item in group.DerivationImageSequence[0].SourceImageSequence
    }
    for item in derived.values():
        item.update(reference(slices[int(str(item.ReferencedSOPInstanceUID).removeprefix(KEY))]))
        if planes.source.shifted:
            item.SpatialLocationsPreserved = "NO"


def _described(segment: Segment, model: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    name, version = name_and_version(model)
    structure = segment.structure
    made = SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=concept(structure.category),
        segmented_property_type=concept(structure.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=name, family=codes.cid7162.ArtificialIntelligence, version=version, source=PROGRAM
        ),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.label,
        display_color=CIELabColor.from_rgb(*structure.colour),
    )
    if structure.modifier:
        kind = made.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept(structure.modifier)]
    return made


def concept(code: Code) -> Any:
    """A code of the table as highdicom's."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator="SCT", meaning=code.meaning)
