"""One model, many cases; a case that fails does not stop the others.

While one CT is computed, the next is read and the one before is written, where memory allows it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flareseg.cases.clashes import refuse_clashes
from flareseg.cases.dicom_files import DicomFiles
from flareseg.cases.find import Case
from flareseg.cases.outputs import Beside, Outputs, Reports, check_preview, check_table
from flareseg.cases.resume import Decision, Log
from flareseg.commands.cohort import Cohort
from flareseg.commands.console import BarListener, CaseListener, JsonListener, SilentListener
from flareseg.commands.in_turn import InTurn, Voice
from flareseg.commands.segment_request import SegmentRequest, model_and_options
from flareseg.errors import Cancelled, DeviceError, InputError, ModelError
from flareseg.io.atomic import check_destination, make_folder
from flareseg.io.dicom_results.planes import check_source
from flareseg.io.dicom_results.rtstruct import check_axial
from flareseg.io.files import write_segmentation
from flareseg.io.writers import is_dicom_result
from flareseg.labels import Structure
from flareseg.progress import Progress
from flareseg.reading.awaiting import wait_for_file
from flareseg.reading.reader import CaseReader, room_for_another
from flareseg.results.cohort.page import check_page
from flareseg.results.cohort.summary import summarise
from flareseg.results.dicom_files import DicomResults
from flareseg.results.measure import Measurement, as_table, measure
from flareseg.results.measurement_files import write_measurements
from flareseg.results.report import check_report, write_report
from flareseg.segmentation import Segmentation
from flareseg.system.background import aside, result_of
from flareseg.system.failures import reported
from flareseg.system.leftovers import remove_leftovers
from flareseg.system.streams import OutputGone, print_text, tell
from flareseg.text import shown
from flareseg.volume import Orientation, Volume

if TYPE_CHECKING:
    from flareseg.segmenter import Segmenter


@dataclass
class _CaseAtWork:
    """A case that is being segmented, and what it needs on its way."""

    case: Case
    decision: Decision
    voice: Voice
    progress: Progress
    files: Sequence[Path]
    dicom: DicomFiles
    report: Path | None
    preview: Path | None


@dataclass
class Batch:
    """Runs a request over cases. The model is loaded once, while the first case that needs it is read.

    Attributes:
        keeps_manifest: also for a single case.
        rows: measurements of the cases that are done, by name.
        reader: tests pass their own.
    """

    request: SegmentRequest
    listener: CaseListener
    cancelled: Callable[[], bool]
    keeps_manifest: bool = False
    rows: dict[str, Sequence[Measurement]] = field(default_factory=dict)
    reader: CaseReader | None = None
    _failed: set[str] = field(default_factory=set)
    _model: Future[Segmenter] | None = None
    _writing: Future[None] | None = None
    _unusable: bool = False

    def run(self, cases: Sequence[Case]) -> int:
        """Segment every case.

        Returns:
            0 when all are done, 1 when any failed.

        Raises:
            Cancelled: when the user asked to stop; finished cases stay.
            UsageError: when a file would be written over an input, or twice; nothing was done.
            FlareError: when nothing could be begun.
        """
        request = self.request
        reports = Reports(request.report, request.report_options.files) if request.report else None
        self._outputs = Outputs(cases, Beside(reports, request.preview, request.measurements, request.dicom))
        manifest = self._outputs.manifest(request.skip_existing or self.keeps_manifest)
        self._cohort = self._cohort_of(cases)
        refuse_clashes(cases, self._outputs.all(manifest))
        if request.measurements:
            check_table(request.measurements, request.overwrite, request.skip_existing)
        for folder in self._folders_written_to(cases):
            remove_leftovers(folder, once=True)
        make = partial(model_and_options, request)
        self._log = Log(manifest, make, self._wanted, request.skip_existing, request.overwrite)
        self._turns = InTurn(self.listener)
        try:
            with self.reader or CaseReader(debug=request.debug) as self.reader:
                self._run(cases)
            self._wait_for_writing()
            if summary := self._log.summary():
                self.listener.message(summary)
            self._say(self.listener.message, self._without_features())
        except OutputGone as gone:
            if isinstance(self.listener, JsonListener) and gone.reader_left:
                raise Cancelled from None
            raise
        finally:
            if self._writing:
                wait([self._writing])
            self._write_table(cases)
            self._write_cohort()
        return 1 if self._failed else 0

    def _run(self, cases: Sequence[Case]) -> None:
        decided = self._decided(cases)
        ahead: list[tuple[Case, Decision]] = []  # looked at already, to read the next one while one is computed
        while not self._unusable and (found := ahead.pop(0) if ahead else next(decided, None)):
            case, decision = found
            if decision.skip:
                self._turns.note(partial(self._say, self.listener.message, decision.message))
                self.rows[case.name] = self._log.rows_of(case)
                continue

            def following() -> Case | None:
                while not ahead or ahead[-1][1].skip:
                    if (one := next(decided, None)) is None:
                        return None
                    ahead.append(one)
                return ahead[-1][0]

            self._begin(case, decision, following)

    def _decided(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Decision]]:
        for case in cases:
            if self.cancelled():
                raise Cancelled
            self.rows[case.name] = []
            yield case, self._decide(case)

    def _decide(self, case: Case) -> Decision:
        try:
            return self._log.decide(case, self._outputs.of(case), self._read)
        except Cancelled:
            raise
        except Exception as error:
            return Decision(problem=InputError(reported(error, case.source)))

    def _begin(self, case: Case, decision: Decision, following: Callable[[], Case | None]) -> None:
        voice = self._turns.begin(case.name)
        work = _CaseAtWork(
            case,
            decision,
            voice,
            Progress(voice, self.cancelled),
            self._outputs.of(case),
            self._outputs.dicom(case),
            self._outputs.report(case),
            self._outputs.preview(case),
        )
        self._attempt(work, partial(self._segment, work, following))

    def _attempt(self, work: _CaseAtWork, part: Callable[[], None]) -> None:
        """A part of a case; whatever goes wrong in it is reported in one line, and costs this case only."""
        case = work.case
        try:
            part()
        except (Cancelled, OutputGone):
            raise
        except Exception as error:
            self._failed.add(case.name)
            self._unusable = self._unusable or isinstance(error, ModelError | DeviceError)  # for the others too
            if self.request.debug:
                tell(traceback.format_exc())
            text = reported(error, case.source)
            self._log.failed(case, work.files, text)
            work.voice.error(text)

    def _segment(self, work: _CaseAtWork, following: Callable[[], Case | None]) -> None:
        request, case = self.request, work.case
        if problem := work.decision.problem or (InputError(case.problem) if case.problem else None):
            raise problem
        self._say(work.voice.message, work.decision.message)
        self._check_places(work)
        with work.progress.stage("read"):
            self._ahead(case)
            self._model = self._model or aside(self._load, "model")
            volume = replace(self._read(case), name=case.name)
        for note in volume.notes:
            work.progress.message(note)
        self._check_dicom(work, volume)
        beside = room_for_another(volume)
        if beside and (after := following()):
            self._ahead(after)
        result = self._loaded().segment(
            volume,
            structures=request.structures,
            roi=request.roi,
            progress=work.progress,
            confidence=work.report is not None,
            preview=partial(self._show, work) if work.preview else None,
        )
        self._wait_for_writing()  # never more than one at a time, and in order
        finish = partial(self._finish, work, result, volume)
        if beside and following():
            self._writing = aside(partial(self._attempt, work, finish), "writing")
        else:
            finish()

    def _check_places(self, work: _CaseAtWork) -> None:
        replaces = work.decision.replace
        for path in (*work.case.outputs, *work.dicom):
            check_destination(path, overwrite=replaces)
        if work.report:
            check_report(work.report, overwrite=replaces, options=self.request.report_options)
        if work.preview:
            check_preview(work.preview, overwrite=replaces)

    def _check_dicom(self, work: _CaseAtWork, volume: Volume) -> None:
        """See, before the work begins, that the CT has what results in DICOM refer to."""
        if any(work.dicom) or any(map(is_dicom_result, work.case.outputs)):
            check_source(volume.source, volume.name)
        if work.dicom.rtstruct and volume.source:
            check_axial(Orientation.of(volume.geometry), volume.name, volume.source.axis)

    def _finish(self, work: _CaseAtWork, result: Segmentation, volume: Volume) -> None:
        """Write and measure what was found."""
        case, alone, replaces = work.case, self._outputs.alone, work.decision.replace
        self._log.started(case, work.files)
        with work.progress.stage("write"):
            for path in case.outputs:
                if not is_dicom_result(path):
                    write_segmentation(result, path, overwrite=replaces)
            rows = self._measure(result, volume) if work.dicom.sr else []
            self._write_dicom(work, result, rows)
        asked = self.request.measurements or work.report or self._log.kept or isinstance(self.listener, JsonListener)
        if asked or alone:
            rows = rows or self._measure(result, volume)
            self.rows[case.name] = rows
        if work.report:
            options = self.request.report_options
            write_report(result, volume, work.report, rows, overwrite=replaces, options=options)
        if cohort := self._cohort:
            cohort.add(case.name, summarise(result, volume, rows), case.outputs[0])
        self._log.done(case, work.files, rows)
        work.voice.done(", ".join(str(path) for path in case.outputs), rows)
        if alone and isinstance(self.listener, BarListener):
            print_text(f"{as_table(rows)}\n\n{times(result)}", sys.stdout)

    def _measure(self, result: Segmentation, volume: Volume) -> list[Measurement]:
        return measure(result, volume, features=self.request.features)

    def _write_dicom(self, work: _CaseAtWork, result: Segmentation, rows: Sequence[Measurement]) -> None:
        files, replaces = work.dicom, work.decision.replace
        segs = [*filter(is_dicom_result, work.case.outputs), *([files.seg] if files.seg else [])]
        if not segs and not any(files):
            return
        results = DicomResults(result)
        for path in segs:
            results.write_seg(path, overwrite=replaces)
        if files.sr:
            results.write_sr(files.sr, rows, overwrite=replaces)
        if files.rtstruct:
            results.write_rtstruct(files.rtstruct, overwrite=replaces)

    def _read(self, case: Case) -> Volume:
        assert self.reader
        if self.request.await_inputs:
            wait_for_file(case.source, self.cancelled)
        return self.reader.read(case.source, **self._how(case), cancelled=self.cancelled)

    def _ahead(self, case: Case) -> None:
        assert self.reader
        if case.problem or self._log.is_read(case) or (self.request.await_inputs and not case.source.exists()):
            return
        self._log.reads(case)
        self.reader.ahead(case.source, **self._how(case))

    def _how(self, case: Case) -> dict[str, Any]:
        request = self.request
        return {
            "force": request.force,
            "series": request.series or case.series,
            "foreign_files": request.foreign_files,
        }

    def _wait_for_writing(self) -> None:
        if self._writing:
            result_of(self._writing, self.cancelled)

    def _write_table(self, cases: Sequence[Case]) -> None:
        if not self.request.measurements:
            return
        rows = [row for case in cases for row in self.rows.get(case.name, self._log.rows_of(case))]
        if rows:
            write_measurements(self.request.measurements, rows, overwrite=True)

    def _write_cohort(self) -> None:
        """The page over all results of the folder, those of earlier runs as well."""
        if self._cohort and (without := self._cohort.write()):
            command = f"flareseg cohort {shown(self._cohort.results)} --report {shown(self._cohort.folder)}"
            self._say(
                self.listener.message, f"{without} of the cases on '{self._cohort.page}' have no pictures; {command}"
            )

    def _without_features(self) -> str:
        """One sentence on cases that an earlier run measured without the features that are asked for; "" where there
        are none."""
        rows = [row for rows in self.rows.values() for row in rows if self.request.features]
        cases = {row.case for row in rows if row.voxels and row.features is None}
        count = "1 case was" if len(cases) == 1 else f"{len(cases)} cases were"
        return f"{count} done before without features; `flareseg measurements` measures them." if cases else ""

    def _say(self, message: Callable[[str], None], text: str) -> None:
        """Report a message, also to users who want no progress."""
        if text:
            message(text)
            if isinstance(self.listener, SilentListener):
                tell(text)

    def _show(self, work: _CaseAtWork, coarse: Segmentation) -> None:
        assert work.preview
        make_folder(work.preview.parent)
        write_segmentation(coarse, work.preview, overwrite=True)
        work.voice.preview(str(work.preview))

    def _cohort_of(self, cases: Sequence[Case]) -> Cohort | None:
        """With reports of several cases there is a page over all of them."""
        request = self.request
        if not request.report or self._outputs.alone:
            return None
        cohort = Cohort(cases[0].outputs[0].parent, request.report, request.report_options.anonymous)
        check_page(cohort.page, overwrite=request.overwrite)
        return cohort

    def _folders_written_to(self, cases: Sequence[Case]) -> set[Path]:
        request = self.request
        files = [path for case in cases for path in case.outputs] + [path for path in (request.measurements,) if path]
        folders = [folder for folder in (request.report, request.preview) if folder]
        folders += [request.report / case.name for case in cases if request.report]
        return {path.parent for path in files} | set(folders)

    def _wanted(self) -> Sequence[Structure]:
        from flareseg.model.catalogue import structures_in

        return self.request.structures or structures_in(self.request.model)

    def _load(self) -> Segmenter:
        from flareseg.segmenter import Segmenter  # takes seconds, most of them torch's

        segmenter = Segmenter(self.request.model, self.request.options)
        segmenter.check(self.request.structures)
        return segmenter

    def _loaded(self) -> Segmenter:
        assert self._model
        try:
            return result_of(self._model, self.cancelled)
        except Exception:
            self._unusable = True  # for the other cases too
            raise


def times(result: Segmentation) -> str:
    """One line: where the time went."""
    parts = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in result.seconds.items())
    return f"{sum(result.seconds.values()):.2f} s ({parts}) with {result.model}"
