"""The measurements of a CT as a DICOM report (TID 1500), which refers to the segments of a DICOM segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flareseg import labels
from flareseg.io.dicom.headers import quiet_pydicom
from flareseg.io.dicom_results.headers import (
    MANUFACTURER,
    NOT_FOR_CLINICS,
    PROGRAM,
    SERIES_NUMBERS,
    equipment,
    images_of,
    name_and_version,
    need_highdicom,
)
from flareseg.io.dicom_results.seg import concept, save
from flareseg.io.dicom_results.segments import Segment, Segments
from flareseg.labels import TUMOUR, Structure
from flareseg.results.measure import Measurement


def write_sr(path: Path, rows: Sequence[Measurement], segments: Segments, seg: Any) -> None:
    """Write the measurements of one CT; new UIDs at every call.

    Args:
        path: where.
        rows: of `measure`.
        segments: what was measured.
        seg: the DICOM segmentation that holds them (a data set).

    Raises:
        UsageError: without highdicom.
        OSError: when it cannot be written.
    """
    need_highdicom()
    save(path, make_sr(rows, segments, seg))


def make_sr(rows: Sequence[Measurement], segments: Segments, seg: Any) -> Any:
    """The report as a data set of highdicom."""
    from highdicom.sr import (
        Comprehensive3DSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    images = images_of(segments.planes.source)
    model, _ = name_and_version(rows[0].model if rows else "")
    observer = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=generate_uid(), name=PROGRAM, manufacturer_name=MANUFACTURER, model_name=model
        ),
    )
    with quiet_pydicom():
        report = MeasurementReport(
            observation_context=ObservationContext(observer_device_context=observer),
            procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
            imaging_measurements=[
                group
                for segment in segments.every
                if (row := _row_of(segment, rows))
                for group in _groups(segment, row, segments, seg)
            ]
            or None,
            title=codes.DCM.ImagingMeasurementReport,
        )
        return Comprehensive3DSR(
            evidence=[*images, seg],
            content=report[0],
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBERS["SR"],
            sop_instance_uid=generate_uid(),
            instance_number=1,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=f"{PROGRAM} measurements, {NOT_FOR_CLINICS.lower()}",
            **equipment(),
        )


def _row_of(segment: Segment, rows: Sequence[Measurement]) -> Measurement | None:
    """The measurements of a segment; None of what has none of its own, as parts too small for a lesion."""
    if segment.structure.name == TUMOUR and segment.lesion is None:
        return None
    return next(
        (row for row in rows if (row.structure, row.lesion) == (segment.structure.name, segment.lesion) and row.voxels),
        None,
    )


def _groups(segment: Segment, row: Measurement, segments: Segments, seg: Any) -> list[Any]:
    """Of a segment its volume and density; of a lesion also its diameters, which a group of their own must hold, as
    TID 1411 takes no coordinates. The tracking UID says that both are of one finding."""
    from highdicom.sr import (
        AlgorithmIdentification,
        MeasurementsAndQualitativeEvaluations,
        ReferencedSegment,
        SourceImageForSegmentation,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.codedict import codes

    source, structure = segments.planes.source, segment.structure
    name, version = name_and_version(row.model)

    def shared() -> dict[str, Any]:
        return {
            "tracking_identifier": TrackingIdentifier(uid=segment.tracking_uid, identifier=segment.label),
            "finding_category": concept(structure.category),
            "finding_type": concept(structure.type),
            "finding_sites": _sites(segment, row),
            "algorithm_id": AlgorithmIdentification(
                name=name, version=version, family=codes.cid7162.ArtificialIntelligence, manufacturer=MANUFACTURER
            ),
        }

    series = sorted({one.series_uid for one in source.slices})
    images = {one.instance_uid: one.class_uid for one in source.slices}
    joined = len(series) > 1  # a scan whose slices got a series each
    region = ReferencedSegment(
        sop_class_uid=seg.SOPClassUID,
        sop_instance_uid=seg.SOPInstanceUID,
        segment_number=segment.number,
        source_series=None if joined else SourceSeriesForSegmentation(series[0]),
        source_images=[SourceImageForSegmentation(kind, uid) for uid, kind in images.items()] if joined else None,
    )
    groups: list[Any] = [
        VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=region, measurements=_volume_and_density(row), **shared()
        )
    ]
    if diameters := _diameters(row, source.frame_of_reference_uid):
        groups.append(MeasurementsAndQualitativeEvaluations(measurements=diameters, **shared()))
    return groups


def _sites(segment: Segment, row: Measurement) -> list[Any] | None:
    """Where a lesion lies, and of an organ with a side, which one."""
    if segment.lesion is not None:
        if row.host is None or not labels.is_known(row.host):
            return None
        return [_site(labels.by_name(row.host))]
    return [_site(segment.structure)] if segment.structure.modifier else None


def _site(structure: Structure) -> Any:
    from highdicom.sr import FindingSite

    return FindingSite(
        anatomic_location=concept(structure.type),
        laterality=concept(structure.modifier) if structure.modifier else None,
    )


def _volume_and_density(row: Measurement) -> list[Any]:
    from highdicom.sr import Measurement as Item
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    made = [Item(name=codes.SCT.Volume, value=row.volume_ml, unit=Code("mL", "UCUM", "mL"))]
    for derivation, value in ((codes.SCT.Mean, row.mean_hu), (codes.SCT.StandardDeviation, row.sd_hu)):
        if value is not None:
            unit = codes.UCUM.HounsfieldUnit
            made.append(Item(name=codes.DCM.AttenuationCoefficient, value=value, unit=unit, derivation=derivation))
    return made


def _diameters(row: Measurement, frame_of_reference_uid: str) -> list[Any]:
    """The longest axial diameter of a lesion and its perpendicular, each with the line that was measured."""
    from highdicom.sr import CoordinatesForMeasurement3D, GraphicTypeValues3D
    from highdicom.sr import Measurement as Item
    from pydicom.sr.codedict import codes

    lines = (
        (codes.SCT.LongAxis, row.longest_mm, row.longest_start_xyz_mm, row.longest_end_xyz_mm),
        (codes.SCT.ShortAxis, row.perpendicular_mm, row.perpendicular_start_xyz_mm, row.perpendicular_end_xyz_mm),
    )
    return [
        Item(
            name=name,
            value=mm,
            unit=codes.UCUM.Millimeter,
            referenced_coordinates=[
                CoordinatesForMeasurement3D(
                    graphic_type=GraphicTypeValues3D.POLYLINE,
                    graphic_data=np.array([start, end], np.float64),
                    frame_of_reference_uid=frame_of_reference_uid,
                )
            ],
        )
        for name, mm, start, end in lines
        if mm is not None and start is not None and end is not None
    ]
