"""The page over all cases of a folder of results: after `flareseg segment --report`, and by `flareseg cohort`."""

# Addresses between folders that need not be there yet, on any drive: os.path knows them, pathlib does not.
# ruff: noqa: PTH100

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from flareseg.cases.clashes import refuse_over_inputs
from flareseg.cases.last_lines import LastLines
from flareseg.cases.manifest_lines import DONE, STARTED, TAKEN, Record
from flareseg.cases.manifest_lines import NAME as MANIFEST
from flareseg.errors import Cancelled, FlareError, InputError
from flareseg.io.files import read_labels
from flareseg.labels import structures
from flareseg.model.structures import structure_called
from flareseg.reading.reader import CaseReader
from flareseg.results.cohort.page import PAGE, CohortCase, check_page, write_page
from flareseg.results.cohort.summary import (
    STORE,
    Summary,
    check_pictures,
    labels_digest,
    read_slices,
    read_summary,
    stamp_of,
    summarise,
    summary_of_rows,
    write_summary,
)
from flareseg.results.measure import measure
from flareseg.results.report import PAGE as REPORT_PAGE
from flareseg.segmentation import Segmentation
from flareseg.system.interrupt import run_until_signal
from flareseg.system.streams import print_line, tell
from flareseg.text import shown

GRID_TOLERANCE_MM = 0.1
GONE = "Its result is not there any more."
UNFINISHED = "The run that began it did not end."


@dataclass(frozen=True)
class Cohort:
    """The page over a folder of results.

    Attributes:
        results: the folder with the results and their manifest.
        folder: where the page is, or will be.
        anonymous: see `write_page`.
    """

    results: Path
    folder: Path
    anonymous: bool = False

    @property
    def page(self) -> Path:
        return self.folder / PAGE

    def file_of(self, case: str) -> Path:
        """What the page is made of for one case.

        Raises:
            InputError: for what can be no name of a case, in a manifest that somebody changed.
        """
        if case in ("", ".", "..") or any(letter in case for letter in "/\\\0"):
            raise InputError(f"'{shown(case)}' is no name of a case.")
        return self.folder / STORE / f"{case}.json"

    def add(self, case: str, summary: Summary, result: Path) -> None:
        """Keep what the page shows of a case, whose result lies in the file `result`.

        Raises:
            OutputError: when it cannot be written.
        """
        notes = () if self.anonymous else summary.notes
        write_summary(replace(summary, notes=notes, stamp=stamp_of(result)), self.file_of(case))

    def write(self) -> int:
        """Write the page of what is there; returns how many cases have no pictures.

        Raises:
            OutputError: when it cannot be written.
        """
        lines = LastLines(self.results)
        cases = [self._case(record, lines) for record in lines]
        write_page(cases, self.page, anonymous=self.anonymous)
        return sum(case.summary is not None and case.stored_slices is None for case in cases)

    def complete(self, lines: LastLines, cancelled: Callable[[], bool]) -> None:
        """Read again the results, and the CTs, of cases of which the page has nothing, or what is out of date.

        What goes wrong with a case is said in a line, and leaves its row without pictures.

        Args:
            lines: of the folder's manifest.
            cancelled: asked now and then.

        Raises:
            Cancelled: when the user asked to stop.
        """
        from tqdm import tqdm

        records = [one for one in lines if one.status in (DONE, TAKEN)]
        with CaseReader() as reader:
            for record in tqdm(records, desc="cohort", unit="case", disable=not _on_terminal(), leave=False):
                if cancelled():
                    raise Cancelled
                try:
                    self._renew(record, lines, reader, cancelled)
                except Cancelled:
                    raise
                except FlareError as error:
                    tell(f"flareseg: {shown(record.case)} has no pictures: {error}")

    def _renew(self, record: Record, lines: LastLines, reader: CaseReader, cancelled: Callable[[], bool]) -> None:
        result, file = self._result_of(record), self.file_of(record.case)
        kept = read_summary(file)
        if not result.is_file() or (kept and kept.slices and kept.stamp == stamp_of(result)):
            return
        labels, geometry = read_labels(result)
        if kept and kept.slices and kept.labels_sha256 == labels_digest(labels, geometry):  # copied, or touched
            self.add(record.case, kept, result)
            return
        source, order = str(record.source.get("path", "")), record.order
        series = record.source.get("series") or order.get("series")
        volume = reader.read(
            Path(source), force=bool(order.get("force")), series=str(series) if series else None, cancelled=cancelled
        )
        if not volume.geometry.same_as(geometry, GRID_TOLERANCE_MM):
            raise InputError(f"'{shown(result)}' does not lie on the grid of '{shown(source)}', which has changed.")
        of_rows = summary_of_rows(lines.rows_of(record.case))
        looked_for = tuple(structure_called(one.name, one.value) for one in of_rows.structures) or structures()
        segmentation = Segmentation(labels, geometry, looked_for, record.case, of_rows.model, volume.notes)
        made = summarise(segmentation, replace(volume, name=record.case), measure(segmentation, volume))
        self.add(record.case, _with_expectations(made, of_rows), result)

    def _case(self, record: Record, lines: LastLines) -> CohortCase:
        """A row of the page; its pictures stay in the file until they are written."""
        if record.status not in (DONE, TAKEN):
            failure = UNFINISHED if record.status == STARTED else record.message
            return CohortCase(record.case, failure=failure or "Nobody wrote down why.")
        result = self._result_of(record)
        if not result.exists():
            return CohortCase(record.case, failure=GONE)
        report = self._report_of(record)
        try:
            file = self.file_of(record.case)
            summary = read_summary(file)
        except InputError:
            summary = None
        if summary is None or summary.stamp != stamp_of(result):
            return CohortCase(record.case, summary_of_rows(lines.rows_of(record.case)), report=report)
        stored = partial(read_slices, file, summary.labels_sha256) if summary.slices else None
        return CohortCase(record.case, replace(summary, slices=()), report=report, stored_slices=stored)

    def _result_of(self, record: Record) -> Path:
        return self.results / next(iter(record.outputs), "")

    def _report_of(self, record: Record) -> str:
        """The address of its report, relative to the page; "" without one, or where no relative address leads there."""
        report = _report_key(record)
        if report is None:
            return ""
        try:
            relative = Path(os.path.relpath(os.path.abspath(self.results / report), os.path.abspath(self.folder)))
        except ValueError:  # another drive of Windows
            return ""
        return "./" + quote(os.fsencode(relative.as_posix()))


def cohort_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg cohort`; returns its exit status."""
    results: Path = arguments.results
    lines = LastLines(results)
    if not lines:
        raise InputError(
            f"'{shown(results)}' has no {MANIFEST} that tells of results; name the folder that was given to "
            "'flareseg segment' as --output."
        )
    check_pictures()
    anonymous = arguments.anonymous or any(record.order.get("anonymous") for record in lines)
    cohort = Cohort(results, arguments.report or _reports_folder(results, lines) or results / "cohort", anonymous)
    refuse_over_inputs(cohort.page, [results], "the page of all cases")
    check_page(cohort.page, overwrite=arguments.overwrite)

    def work(cancelled: Callable[[], bool]) -> int:
        cohort.complete(lines, cancelled)
        cohort.write()
        print_line(str(cohort.page), sys.stdout)
        return 0

    return run_until_signal(work)


def _with_expectations(made: Summary, known: Summary) -> Summary:
    """What only the network could tell, and the manifest kept."""
    expected = {one.name: one.expected_dsc for one in known.structures}
    found = tuple(replace(one, expected_dsc=expected.get(one.name)) for one in made.structures)
    return replace(made, structures=found)


def _report_key(record: Record) -> str | None:
    return next((key for key in record.outputs if PurePosixPath(key).name == REPORT_PAGE), None)


def _reports_folder(results: Path, records: Iterable[Record]) -> Path | None:
    """The folder in which most of the cases have the folders of their reports."""
    pages = [(record.case, PurePosixPath(key)) for record in records if (key := _report_key(record))]
    places = Counter(page.parent.parent for case, page in pages if page.parent.name == case)
    return Path(os.path.normpath(results / places.most_common(1)[0][0])) if places else None


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
