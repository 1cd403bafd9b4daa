"""A CT from a DICOM input: the series is found and chosen, its slices are stacked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flareseg.errors import FlareError, InputError
from flareseg.io.dicom.choice import choose
from flareseg.io.dicom.headers import PATIENT_KEYWORDS, REPEATED_KEYWORDS, beginning_of, header_of, quiet_pydicom
from flareseg.io.dicom.pixels import PixelReader
from flareseg.io.dicom.selection import select
from flareseg.io.dicom.series import Lost, Series, lost_of, scan
from flareseg.io.dicom.slices import Slice
from flareseg.io.dicom.sources import files_of, is_container, is_dicomdir
from flareseg.io.dicom.stack import upright
from flareseg.io.dicom.values import as_json, name, text
from flareseg.volume import Geometry, Source, SourceSlice, Volume


def list_series(folder: Path | str) -> list[Series]:
    """The image series in a DICOM folder (or DICOMDIR, or zip), the largest first; other files are passed over.

    Raises:
        InputError: when it cannot be read.
    """
    path = Path(folder)
    with _one_kind_of_error(path), files_of(path) as files:
        return list(scan(files).series)


def series_uid(file: Path | str) -> str | None:
    """The series a DICOM file belongs to; None where it is no DICOM file."""
    path = Path(file)
    with _one_kind_of_error(path), quiet_pydicom():
        header = header_of(path, beginning_of(path))
        return None if header is None else text(header, "SeriesInstanceUID")


def read_dicom(folder: Path | str, *, force: bool = False, series: str | None = None) -> Volume:
    """The CT in a DICOM folder, in HU.

    Args:
        folder: searched with all folders below it, links included; or a DICOMDIR, or a zip.
        force: without any CT, take another modality; take stored values without a rescale for HU.
        series: number or UID of the series, by default the only CT of a good size; with a point and a number, one of
            its acquisitions (`4.3`).

    Returns:
        int16 HU on an upright grid, slices by ascending position along the normal of their planes. Notes tell of
        acquisitions that were not taken, slices left out, uneven distances, and of gantry tilt, which is taken out by
        shifting every slice in its plane.

    Raises:
        InputError: when there is no CT, more than one to choose from, or the slices do not make a volume.
    """
    path = Path(folder)
    with _one_kind_of_error(path), files_of(path) as files:
        found = scan(files)
        if not found.series and found.strangers and not found.lost and is_container(path) and not is_dicomdir(path):
            raise InputError(f"'{path}' holds no DICOM images; a zip of other files must be unpacked first.")
        if not found.series and files.notes:
            raise InputError(f"'{path}' holds no DICOM images that can be read: {files.notes[0]}")
        chosen, acquisition = choose(path, found, force, series)
        sure, unsure = lost_of(chosen, found)
        selection = select(path, chosen, acquisition, sure)
        if len(selection.slices) < 2:
            raise InputError(f"'{path}' holds a single slice of series {chosen}; a volume is needed.")
        reader = PixelReader(path, is_ct=chosen.modality == "CT", force=force)
        hu, geometry, notes = upright(path, selection.slices, reader, selection.left_out)
        notes = (*_of_series(chosen), *selection.notes, *notes, *reader.notes(), *files.notes, *_damaged(unsure))
        return Volume(hu, geometry, files.name, notes, _source_of(chosen, selection.slices, geometry))


def _source_of(series: Series, slices: Sequence[Slice], geometry: Geometry) -> Source:
    """What the volume was read from, by its slices in the order of its array."""
    with quiet_pydicom():
        file = slices[0].file
        header = header_of(file, beginning_of(file), (*PATIENT_KEYWORDS, *REPEATED_KEYWORDS))
        patient = {keyword: name(header, keyword) for keyword in PATIENT_KEYWORDS} if header is not None else {}
        repeated = as_json(header, REPEATED_KEYWORDS)
    first = slices[0].place
    assert first is not None
    return Source(
        slices=tuple(_source_slice(one) for one in slices),
        study_uid=series.study,
        frame_of_reference_uid=patient.get("FrameOfReferenceUID", ""),
        patient_id=patient.get("PatientID", ""),
        patient_name=patient.get("PatientName", ""),
        study_date=patient.get("StudyDate", ""),
        row=first.row,
        column=first.column,
        shifted=geometry.shape_zyx[1:] != (first.rows, first.columns),
        patient_and_study=repeated,
    )


def _source_slice(one: Slice) -> SourceSlice:
    position = one.place.position_xyz_mm if one.place else None
    return SourceSlice(one.uid, one.class_uid, one.series_uid, None if one.frame is None else one.frame + 1, position)


def _of_series(series: Series) -> tuple[str, ...]:
    if not series.also:
        return ()
    return (
        f"Each of the {len(series.also)} slices had a series UID of its own; they were joined, as all else agrees.",
    )


def _damaged(lost: Sequence[Lost]) -> tuple[str, ...]:
    if not lost:
        return ()
    names = ", ".join(f"'{one.file.name}'" for one in lost[:3]) + (", ..." if len(lost) > 3 else "")
    return (f"Damaged DICOM files, {len(lost)} in all, were left out: {names}.",)


@contextmanager
def _one_kind_of_error(path: Path) -> Iterator[None]:
    """Whatever a damaged file makes pydicom, numpy or the decoders raise, as one line."""
    try:
        yield
    except FlareError:
        raise
    except MemoryError:
        raise InputError(f"'{path}' needs more memory than there is.") from None
    except Exception as error:
        words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise InputError(f"'{path}' cannot be read as DICOM: {type(error).__name__} {words}.") from error
