"""Tasks one after the other in one process; the model is loaded once, while the first CT is read.

While one CT is computed, the next is read and the one before is written, where memory allows it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flareseg.cases.find import Case
from flareseg.cases.outputs import check_preview
from flareseg.cases.resume import TakenOver
from flareseg.commands.cohort import Cohort
from flareseg.commands.segment_request import SegmentRequest
from flareseg.commands.task import Feed, Follower, Task
from flareseg.errors import Cancelled, DeviceError, InputError, ModelError
from flareseg.io.atomic import check_destination, make_folder
from flareseg.io.dicom_results.planes import check_source
from flareseg.io.dicom_results.rtstruct import check_axial
from flareseg.io.files import write_segmentation
from flareseg.io.writers import is_dicom_result
from flareseg.progress import Progress
from flareseg.reading.awaiting import wait_for_file
from flareseg.reading.reader import CaseReader, room_for_another
from flareseg.results.cohort.summary import summarise
from flareseg.results.dicom_files import DicomResults
from flareseg.results.measure import Measurement, measure
from flareseg.results.report import check_report, write_report
from flareseg.segmentation import Segmentation
from flareseg.system.background import aside, result_of
from flareseg.system.failures import reported
from flareseg.system.streams import OutputGone, tell
from flareseg.volume import Orientation, Volume

if TYPE_CHECKING:
    from flareseg.segmenter import Segmenter


@dataclass
class _AtWork:
    """A task that is being done."""

    task: Task
    follower: Follower
    progress: Progress


class Pipeline:
    """Does tasks.

    Args:
        request: what the user asked for.
        reader: of CTs; whoever made it closes it.
        cancelled: asked now and then.
        model: where it is loaded already, or is being so.
    """

    def __init__(
        self,
        request: SegmentRequest,
        reader: CaseReader,
        cancelled: Callable[[], bool],
        model: Future[Segmenter] | None = None,
    ) -> None:
        self.request, self._reader, self._cancelled = request, reader, cancelled
        self._model = model
        self._writing: Future[None] | None = None
        self._unusable = False
        self._read_ahead: Case | None = None

    def run(self, feed: Feed, follow: Callable[[Task], Follower]) -> None:
        """Do all tasks of `feed`, until one shows that there is no model or no device for any.

        Raises:
            Cancelled: when `cancelled` said so; what is being written is not waited for, see `wait_for_writing`.
            OutputGone: when a follower raises it.
        """
        while not self._unusable and (task := feed.next()):
            follower = follow(task)
            work = _AtWork(task, follower, Progress(follower, self._cancelled))
            self._attempt(work, partial(self._segment, work, feed))
        self._wait_until_written()

    def wait_for_writing(self) -> None:
        """Wait until what is being written is written; raises nothing."""
        if self._writing:
            wait([self._writing])

    def _attempt(self, work: _AtWork, part: Callable[[], None]) -> None:
        """A part of a task; whatever goes wrong in it is reported in one line, and costs this case only."""
        try:
            part()
        except (Cancelled, OutputGone):
            raise
        except TakenOver:
            work.follower.left()
        except Exception as error:
            self._unusable = self._unusable or isinstance(error, ModelError | DeviceError)  # for the others too
            if self.request.debug:
                tell(traceback.format_exc())
            work.follower.failed(reported(error, work.task.case.source), self._unusable)

    def _segment(self, work: _AtWork, feed: Feed) -> None:
        request, task, case = self.request, work.task, work.task.case
        if problem := task.problem or (InputError(case.problem) if case.problem else None):
            raise problem
        if task.message:
            work.follower.message(task.message)
        check_places(request, task)
        with work.progress.stage("read"):
            self._ahead(case)
            self._model = self._model or loading(request)
            volume = replace(self._read(case), name=case.name)
        for note in volume.notes:
            work.progress.message(note)
        self._check_dicom(task, volume)
        beside = room_for_another(volume)
        if beside and (after := feed.following()):
            self._ahead(after.case)
        segmenter = self._loaded()
        result = segmenter.segment(
            volume,
            structures=request.structures,
            roi=request.roi,
            progress=work.progress,
            confidence=task.report is not None and not segmenter.expects_dsc(request.structures),
            preview=partial(self._show, work) if task.preview else None,
        )
        self._wait_until_written()  # never more than one at a time, and in order
        finish = partial(self._finish, work, result, volume)
        if beside and feed.following():
            self._writing = aside(partial(self._attempt, work, finish), "writing")
        else:
            finish()

    @staticmethod
    def _check_dicom(task: Task, volume: Volume) -> None:
        """See, before the work begins, that the CT has what results in DICOM refer to."""
        if any(task.dicom) or any(map(is_dicom_result, task.case.outputs)):
            check_source(volume.source, volume.name)
        if task.dicom.rtstruct and volume.source:
            check_axial(Orientation.of(volume.geometry), volume.name, volume.source.axis)

    def _finish(self, work: _AtWork, result: Segmentation, volume: Volume) -> None:
        """Write and measure what was found."""
        task = work.task
        work.follower.started()
        rows: Sequence[Measurement] = []
        with work.progress.stage("write"):
            for path in task.case.outputs:
                if not is_dicom_result(path):
                    write_segmentation(result, path, overwrite=task.replace)
            rows = self._measure(result, volume) if task.dicom.sr else []
            self._write_dicom(task, result, rows)
        if task.measured or task.report:
            rows = rows or self._measure(result, volume)
        options = self.request.report_options
        if task.report:
            write_report(result, volume, task.report, rows, overwrite=task.replace, options=options)
        if task.cohort:
            cohort = Cohort(task.case.outputs[0].parent, task.cohort, options.anonymous)
            cohort.add(task.case.name, summarise(result, volume, rows), task.case.outputs[0])
        work.follower.done(rows, times(result))

    def _measure(self, result: Segmentation, volume: Volume) -> list[Measurement]:
        return measure(result, volume, features=self.request.features)

    @staticmethod
    def _write_dicom(task: Task, result: Segmentation, rows: Sequence[Measurement]) -> None:
        files = task.dicom
        segs = [*filter(is_dicom_result, task.case.outputs), *([files.seg] if files.seg else [])]
        if not segs and not any(files):
            return
        results = DicomResults(result)
        for path in segs:
            results.write_seg(path, overwrite=task.replace)
        if files.sr:
            results.write_sr(files.sr, rows, overwrite=task.replace)
        if files.rtstruct:
            results.write_rtstruct(files.rtstruct, overwrite=task.replace)

    def _read(self, case: Case) -> Volume:
        if self.request.await_inputs:
            wait_for_file(case.source, self._cancelled)
        return self._reader.read(case.source, **how_to_read(self.request, case), cancelled=self._cancelled)

    def _ahead(self, case: Case) -> None:
        if case.problem or case is self._read_ahead or (self.request.await_inputs and not case.source.exists()):
            return
        self._read_ahead = case
        self._reader.ahead(case.source, **how_to_read(self.request, case))

    def _wait_until_written(self) -> None:
        if self._writing:
            result_of(self._writing, self._cancelled)

    def _show(self, work: _AtWork, coarse: Segmentation) -> None:
        assert work.task.preview
        make_folder(work.task.preview.parent)
        write_segmentation(coarse, work.task.preview, overwrite=True)
        work.follower.preview(str(work.task.preview))

    def _loaded(self) -> Segmenter:
        assert self._model
        try:
            return result_of(self._model, self._cancelled)
        except Exception:
            self._unusable = True  # for the other cases too
            raise


def loading(request: SegmentRequest) -> Future[Segmenter]:
    """The model of a request, which is being loaded."""

    def load() -> Segmenter:
        from flareseg.segmenter import Segmenter  # takes seconds, most of them torch's

        segmenter = Segmenter(request.model, request.options)
        segmenter.check(request.structures)
        return segmenter

    return aside(load, "model")


def check_places(request: SegmentRequest, task: Task) -> None:
    """See, before the work begins, that all of a task's files can be written.

    Raises:
        OutputError: when one cannot.
    """
    for path in (*task.case.outputs, *task.dicom):
        check_destination(path, overwrite=task.replace)
    if task.report:
        check_report(task.report, overwrite=task.replace, options=request.report_options)
    if task.preview:
        check_preview(task.preview, overwrite=task.replace)


def how_to_read(request: SegmentRequest, case: Case) -> dict[str, Any]:
    """What `CaseReader` has to know besides the source."""
    return {
        "force": request.force,
        "series": request.series or case.series,
        "foreign_files": request.foreign_files,
    }


def times(result: Segmentation) -> str:
    """One line: where the time went."""
    parts = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in result.seconds.items())
    return f"{sum(result.seconds.values()):.2f} s ({parts}) with {result.model}"
