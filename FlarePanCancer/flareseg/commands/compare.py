"""`flareseg compare`: reads results and their CTs, puts them in the order of their dates, and writes the follow-up."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from flareseg.cases.clashes import refuse_over_inputs
from flareseg.errors import Cancelled, InputError, UsageError
from flareseg.io.atomic import check_destination
from flareseg.io.files import read_labels
from flareseg.labels import structures
from flareseg.reading.reader import CaseReader
from flareseg.results.evaluate import names_of
from flareseg.results.followup.comparison import FollowUp, follow_up
from flareseg.results.followup.files import as_data, write_follow_up
from flareseg.results.followup.page import check_page, write_page
from flareseg.results.followup.table import as_text
from flareseg.results.followup.timepoint import Timepoint
from flareseg.results.foreign_values import note_on_foreign_values
from flareseg.results.grids import on_grid
from flareseg.results.measurement_files import check_table_name
from flareseg.segmentation import Segmentation
from flareseg.system.interrupt import run_until_signal
from flareseg.system.streams import print_line, print_text, tell
from flareseg.volume import Volume


def compare_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg compare`; returns its exit status."""
    _check(arguments)

    def work(cancelled: Callable[[], bool]) -> int:
        scans = _scans(arguments, cancelled)
        ordered, notes = _in_order(scans)
        found = follow_up([_timepoint(scan) for scan in ordered], notes)
        _write(found, arguments)
        if arguments.json:
            print_line(json.dumps(as_data(found)), sys.stdout)
        else:
            print_text(as_text(found), sys.stdout)
        return 0

    return run_until_signal(work)


@dataclass(frozen=True)
class _Scan:
    """A result, its CT where it was given, and its date where it is known."""

    segmentation: Segmentation
    volume: Volume | None
    date: date | None


def _check(arguments: argparse.Namespace) -> None:
    """See that the command makes sense and its files can be written, before anything is read."""
    count = len(arguments.results)
    if count < 2:
        raise UsageError("A comparison needs at least two results: flareseg compare EARLIER LATER.")
    for option, values in (("--ct", arguments.ct), ("--dates", arguments.dates)):
        if values is not None and len(values) != count:
            raise UsageError(
                f"{option} needs one for each of the {count} results, in their order, and got {len(values)}."
            )
    if arguments.report and not arguments.ct:
        raise UsageError("The pictures of --report need the CTs: --ct EARLIER LATER.")
    inputs = [*arguments.results, *(arguments.ct or ())]
    if arguments.output:
        check_table_name(arguments.output, "Follow-ups")
        refuse_over_inputs(arguments.output, inputs, "the table of the follow-up")
        check_destination(arguments.output, overwrite=arguments.overwrite)
    if arguments.report:
        check_page(arguments.report, overwrite=arguments.overwrite)


def _scans(arguments: argparse.Namespace, cancelled: Callable[[], bool]) -> list[_Scan]:
    count = len(arguments.results)
    volumes: list[Volume | None] = [None] * count
    if arguments.ct:
        with CaseReader() as reader:
            volumes = [reader.read(path, force=arguments.force, cancelled=cancelled) for path in arguments.ct]
    dates = arguments.dates or [_date_of(volume) for volume in volumes]
    scans = []
    for path, name, volume, scanned in zip(arguments.results, names_of(arguments.results), volumes, dates, strict=True):
        if cancelled():
            raise Cancelled
        labels, geometry = read_labels(path)
        if volume:
            reordered = on_grid(labels, geometry, volume.geometry)
            if reordered is None:
                raise InputError(
                    f"'{path}' is no result of the CT '{volume.name}': their voxels differ; give the CTs in the order "
                    "of the results."
                )
            labels, geometry = reordered, volume.geometry
        if note := note_on_foreign_values(path, labels, structures(), "compared"):
            tell(f"flareseg: {note}")
        scans.append(_Scan(Segmentation(labels, geometry, structures(), name), volume, scanned))
    return scans


def _timepoint(scan: _Scan) -> Timepoint:
    return Timepoint.of(scan.segmentation, scan.volume, scan.date)


def _date_of(volume: Volume | None) -> date | None:
    """What the CT's DICOM says; None where there is none, or it makes no sense."""
    text = volume.source.study_date if volume and volume.source else ""
    try:
        return datetime.strptime(text.strip(), "%Y%m%d").date()
    except ValueError:
        return None


def _in_order(scans: Sequence[_Scan]) -> tuple[list[_Scan], list[str]]:
    """The earliest first, where all dates are known, and what is to be said of it."""
    notes = []
    patients = {scan.volume.source.patient_id for scan in scans if scan.volume and scan.volume.source}
    if len(patients - {""}) > 1:
        notes.append("The DICOM files name different patients (PatientID): see that the CTs are of one.")
    dates = [scan.date for scan in scans if scan.date]
    if len(dates) < len(scans):
        return list(scans), notes
    if dates != sorted(dates):
        notes.append("The results were put in the order of their dates.")
    if len(set(dates)) < len(dates):
        notes.append("Two of the CTs are of one day; they stay in the order in which they were given.")
    order = sorted(range(len(scans)), key=lambda number: dates[number])
    return [scans[number] for number in order], notes


def _write(found: FollowUp, arguments: argparse.Namespace) -> None:
    if arguments.output:
        write_follow_up(arguments.output, found, overwrite=arguments.overwrite)
    if arguments.report:
        write_page(found, arguments.report, overwrite=arguments.overwrite)
