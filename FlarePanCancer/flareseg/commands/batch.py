"""One request, many cases; a case that fails does not stop the others.

Here it is decided which cases are to be done, and here what was done is recorded. Who does them is a `Pipeline` in this
process, a `Crew` of processes on this machine, or the workers of a Dask cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from flareseg.cases.clashes import refuse_clashes
from flareseg.cases.find import Case
from flareseg.cases.outputs import Beside, Outputs, Reports, check_table
from flareseg.cases.resume import Decision, Log
from flareseg.cases.stored_rows import StoredRows
from flareseg.commands.case_queue import CaseQueue, Ways
from flareseg.commands.cohort import Cohort
from flareseg.commands.console import BarListener, CaseListener, JsonListener, TallyListener, insist
from flareseg.commands.crew import Crew
from flareseg.commands.in_turn import AtTheirEnd, InTurn, Voice
from flareseg.commands.pipeline import Pipeline, how_to_read
from flareseg.commands.segment_request import SegmentRequest, model_and_options
from flareseg.commands.task import Follower, Task
from flareseg.errors import Cancelled
from flareseg.labels import Structure
from flareseg.reading.awaiting import wait_for_file
from flareseg.reading.reader import CaseReader
from flareseg.results.cohort.page import check_page
from flareseg.results.measure import Measurement, as_table
from flareseg.results.measurement_files import write_measurements
from flareseg.system.interrupt import on_abandon
from flareseg.system.leftovers import remove_leftovers
from flareseg.system.streams import OutputGone, print_text
from flareseg.text import shown
from flareseg.volume import Volume


class Doer(Protocol):
    """Whoever does tasks."""

    def run(self, feed: CaseQueue, follow: Callable[[Task], Follower]) -> None:
        """Do all tasks of `feed`; raises Cancelled when the user asked to stop."""


@dataclass
class Batch:
    """Runs a request over cases.

    Attributes:
        keeps_manifest: also for a single case.
        reader: tests pass their own.
    """

    request: SegmentRequest
    listener: CaseListener
    cancelled: Callable[[], bool]
    keeps_manifest: bool = False
    reader: CaseReader | None = None
    _rows: dict[str, Sequence[Measurement]] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _failed_elsewhere: set[str] = field(default_factory=set)
    _without_features: int = 0

    def run(self, cases: Sequence[Case]) -> int:
        """Segment every case, or those of this run's shard.

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
            check_table(request.measurements, request.overwrite, request.skip_existing or request.many.is_shared)
        self._folders = self._folders_written_to(cases)
        self._remove_leftovers(once=True)
        make = partial(model_and_options, request)
        self._log = Log(manifest, make, self._wanted, request.skip_existing, request.overwrite)
        try:
            with on_abandon(partial(self._log.end, hurry=True)):
                self._run(cases)
        except OutputGone as gone:
            if isinstance(self.listener, JsonListener) and gone.reader_left:
                raise Cancelled from None
            raise
        finally:
            with ExitStack() as last:  # where one of them fails, the others are still to be done
                last.callback(self._log.end)
                last.callback(self._write_cohort)
                self._write_table(cases)
        return 1 if self._failed else 0

    def _run(self, cases: Sequence[Case]) -> None:
        shard = self.request.many.of(cases)
        self.reader = self.reader or CaseReader(debug=self.request.debug)
        with self.reader, self._doer(len(shard)) as doer:
            doer.run(CaseQueue(shard, self._log, self._outputs, self._ways()), self._follow)
        if summary := self._log.summary():
            self.listener.message(summary)
        self._say(self.listener.message, self._features_missing())

    @contextmanager
    def _doer(self, count: int) -> Iterator[Doer]:
        """Who does `count` cases."""
        request, many = self.request, self.request.many
        self._turns: InTurn | AtTheirEnd = InTurn(self.listener)
        plan = None if many.scheduler is not None else many.plan(request.options, count)
        if many.scheduler is None and plan is None:
            assert self.reader
            pipeline = Pipeline(request, self.reader, self.cancelled)
            try:
                yield pipeline
            finally:
                pipeline.wait_for_writing()
            return
        if isinstance(self.listener, BarListener):
            self.listener = TallyListener(count)
        self._turns = AtTheirEnd(self.listener)
        if plan is not None:
            self.listener.message(plan.sentence)
            with Crew(request, plan, self.cancelled, self._remove_leftovers) as processes:
                yield processes
        elif many.scheduler is not None:
            from flareseg.commands.dask_crew import DaskCrew

            with DaskCrew(request, many.scheduler, self.cancelled) as cluster:
                yield cluster

    def _ways(self) -> Ways:
        asked = self.request.measurements or self._log.kept or isinstance(self.listener, JsonListener)
        return Ways(
            shares=self.request.skip_existing,
            measured=bool(asked or self._prints_table),
            read=self._read,
            note=self._note,
            skipped=self._skipped,
            cancelled=self.cancelled,
        )

    @property
    def _prints_table(self) -> bool:
        """Whether what is measured of the only case is shown."""
        return self._outputs.alone and isinstance(self.listener, BarListener)

    def _follow(self, task: Task) -> Follower:
        return _Followed(self, task, self._turns.begin(task.case.name))

    def _note(self, text: str) -> None:
        self._turns.note(partial(self._say, self.listener.message, text))

    def _skipped(self, case: Case, decision: Decision) -> None:
        if decision.failed:
            self._failed_elsewhere.add(case.name)
        elif self.request.features and self._log.lacks_features(case):
            self._without_features += 1
        self._note(decision.message)
        if isinstance(self.listener, TallyListener):
            self.listener.count_one()

    def _read(self, case: Case) -> Volume:
        assert self.reader
        if self.request.await_inputs:
            wait_for_file(case.source, self.cancelled)
        return self.reader.read(case.source, **how_to_read(self.request, case), cancelled=self.cancelled)

    def _write_table(self, cases: Sequence[Case]) -> None:
        """Write the measurements of all cases, those of other runs and shards too."""
        if not self.request.measurements:
            return
        with self._log.exclusively("table") as ours:
            if not ours:  # of a run that ends at the same moment, which writes the same
                return
            self._log.refresh()
            without = self._failed | self._failed_elsewhere
            rows = StoredRows([case for case in cases if case.name not in without], self._rows_of)
            if rows:
                write_measurements(self.request.measurements, rows, overwrite=True)

    def _write_cohort(self) -> None:
        """The page over all results of the folder, those of other runs as well."""
        if self._cohort is None:
            return
        with self._log.exclusively("page") as ours:
            without = self._cohort.write() if ours else 0
        if without:
            command = f"flareseg cohort {shown(self._cohort.results)} --report {shown(self._cohort.folder)}"
            text = f"{without} of the cases on '{self._cohort.page}' have no pictures; {command}"
            self._say(self.listener.message, text)

    def _features_missing(self) -> str:
        """One sentence on cases that an earlier run measured without the features that are asked for; "" where there
        are none."""
        count = self._without_features
        cases = "1 case was" if count == 1 else f"{count} cases were"
        return f"{cases} done before without features; `flareseg measurements` measures them." if count else ""

    def _rows_of(self, case: Case) -> Sequence[Measurement]:
        return self._log.rows_of(case) if self._log.kept else self._rows.get(case.name, [])

    def _say(self, message: Callable[[str], None], text: str) -> None:
        """Report a message, also to users who want no progress."""
        if text:
            message(text)
            insist(self.listener, text)

    def _remove_leftovers(self, *, once: bool = False) -> None:
        for folder in self._folders:
            remove_leftovers(folder, once=once)

    def _cohort_of(self, cases: Sequence[Case]) -> Cohort | None:
        """The page over all cases, if there will be one."""
        request, folder = self.request, self._outputs.cohort
        if folder is None:
            return None
        cohort = Cohort(cases[0].outputs[0].parent, folder, request.report_options.anonymous)
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


class _Followed:
    """Records what becomes of one task, and tells the listener."""

    def __init__(self, batch: Batch, task: Task, voice: Voice) -> None:
        self._batch, self._task, self._voice = batch, task, voice

    def stage(self, name: str, fraction: float) -> None:
        self._voice.stage(name, fraction)

    def message(self, text: str) -> None:
        self._voice.message(text)
        insist(self._batch.listener, f"{shown(self._task.case.name)}: {text}")

    def preview(self, output: str) -> None:
        self._voice.preview(output)

    def started(self) -> None:
        self._batch._log.started(self._task.case, self._task.files)

    def done(self, rows: Sequence[Measurement], times: str) -> None:
        batch, case = self._batch, self._task.case
        if not batch._log.kept:
            batch._rows[case.name] = rows
        batch._log.done(case, self._task.files, rows)
        self._voice.done(", ".join(str(path) for path in case.outputs), rows)
        if batch._prints_table:
            print_text(f"{as_table(rows)}\n\n{times}", sys.stdout)

    def failed(self, text: str, unusable: bool) -> None:
        self._batch._failed.add(self._task.case.name)
        self._batch._log.failed(self._task.case, self._task.files, text)
        self._voice.error(text)

    def left(self) -> None:
        self._voice.left(f"{self._task.case.name} is left to another run, which took this one for dead.")
