"""What a user asks of `flareseg segment`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flareseg.cases.dicom_files import DicomWanted
from flareseg.commands.many import Many
from flareseg.labels import Structure
from flareseg.options import Options, result_record
from flareseg.results.report import ReportOptions
from flareseg.volume import WorldBox


@dataclass(frozen=True)
class SegmentRequest:
    """What the user asked for, the same for every case.

    Attributes:
        model: name or folder.
        options: how it is applied.
        structures: what to keep of its output; None keeps everything.
        roi: segment only inside this box; None is everywhere.
        series: which DICOM series.
        force: accept what does not look like a CT.
        foreign_files: read voxels from any file that a header names.
        overwrite, skip_existing: what to do about results that exist.
        measurements: file for volume and HU of every case, or None.
        features: measure PyRadiomics' features too.
        report: folder for pictures, or None.
        report_options: what they have and hide.
        preview: folder for what the coarse net finds, NAME.nrrd on its own coarse grid, or None.
        dicom: DICOM results beside those that every case has.
        await_inputs: wait for a CT that is not there yet when its turn comes.
        many: how many workers do it, and where.
        debug: show where errors come from.
    """

    model: str
    options: Options
    structures: tuple[Structure, ...] | None = None
    roi: WorldBox | None = None
    series: str | None = None
    force: bool = False
    foreign_files: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    measurements: Path | None = None
    features: bool = False
    report: Path | None = None
    report_options: ReportOptions = field(default_factory=ReportOptions)
    preview: Path | None = None
    dicom: DicomWanted = field(default_factory=DicomWanted)
    await_inputs: bool = False
    many: Many = field(default_factory=Many)
    debug: bool = False


def model_and_options(request: SegmentRequest) -> dict[str, Any]:
    """What decides a result besides the CT: model and options, but not the device or the number of threads.

    Raises:
        ModelError: when there is no such model.
    """
    from flareseg.model.catalogue import fingerprint

    return {
        **fingerprint(request.model),
        "structures": [one.name for one in request.structures] if request.structures else None,
        "roi": [list(request.roi.low_xyz_mm), list(request.roi.high_xyz_mm)] if request.roi else None,
        "series": request.series,
        "force": request.force,
        **result_record(request.options),
        # A report that names its case must not be taken for one that hides it.
        **({"anonymous": True} if request.report and request.report_options.anonymous else {}),
    }
