"""`flareseg segment`: one model, many cases; a case that fails does not stop the others.

While one CT is computed, the next is read and the one before is written, where memory allows it.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flareseg.aside import aside, result_of
from flareseg.cases import Case, find_cases, with_outputs
from flareseg.console import BarListener, CaseListener, JsonListener, SilentListener
from flareseg.errors import Cancelled, UsageError
from flareseg.failures import told
from flareseg.interrupt import end_when, run_until_signal
from flareseg.io.atomic import check_destination
from flareseg.io.files import LABEL_ENDINGS, write_segmentation
from flareseg.io.kinds import check_kind
from flareseg.labels import Structure
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.reading.reader import CaseReader, room_for_another
from flareseg.results.measure import Measurement, as_table, measure, write_measurements
from flareseg.results.report import check_report, write_report
from flareseg.segmentation import Segmentation
from flareseg.streams import OutputGone, print_text, tell
from flareseg.turns import InTurn, Voice
from flareseg.volume import Volume, WorldBox

if TYPE_CHECKING:
    from flareseg.segmenter import Segmenter


@dataclass(frozen=True)
class Order:
    """What the user asked for, the same for every case.

    Attributes:
        model: name or folder.
        options: how it is applied.
        structures: what to keep of its output; None keeps everything.
        roi: segment only inside this box; None is everywhere.
        series: which DICOM series.
        force: accept what does not look like a CT.
        overwrite, skip_existing: what to do about results that exist.
        measurements: file for volume and HU of every case, or None.
        report: folder for pictures, or None.
        preview: folder for what the coarse net finds, NAME.nrrd on its own coarse grid, or None.
        debug: show where errors come from.
    """

    model: str
    options: Options
    structures: tuple[Structure, ...] | None = None
    roi: WorldBox | None = None
    series: str | None = None
    force: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    measurements: Path | None = None
    report: Path | None = None
    preview: Path | None = None
    debug: bool = False


def segment_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg segment`; returns its exit status."""
    if arguments.format not in LABEL_ENDINGS:
        raise UsageError(f"'{arguments.format}' cannot be written; choose one of {', '.join(LABEL_ENDINGS)}.")
    for path in arguments.inputs:
        check_kind(path)
    cases = with_outputs(find_cases(arguments.inputs), arguments.output, arguments.format)
    order = Order(
        model=arguments.model,
        options=options_of(arguments),
        structures=_structures(arguments.structures, arguments.model) if arguments.structures else None,
        roi=_roi(arguments.roi) if arguments.roi else None,
        series=arguments.series,
        force=arguments.force,
        overwrite=arguments.overwrite,
        skip_existing=arguments.skip_existing,
        measurements=arguments.measurements,
        report=arguments.report,
        preview=arguments.preview,
        debug=arguments.debug,
    )
    listener = _listener(arguments.progress)
    if isinstance(listener, JsonListener):
        from flareseg.listening import listener_left

        end_when(listener_left())
    return run_until_signal(lambda cancelled: Batch(order, listener, cancelled).run(cases))


def _structures(names: str, model: str) -> tuple[Structure, ...]:
    from flareseg.model.catalogue import structures_in
    from flareseg.model.structures import choose

    return choose(names.split(","), structures_in(model))


def options_of(arguments: argparse.Namespace) -> Options:
    """The model options shared by `segment` and `bench`."""
    return Options(
        device=arguments.device,
        backend=arguments.backend,
        threads=arguments.threads,
        gpu_memory_gb=arguments.gpu_memory,
        step=arguments.step,
        mirroring=arguments.tta,
        parity=arguments.parity,
    )


@dataclass
class Batch:
    """Runs an order over cases. The model is loaded once, while the first case that needs it is read.

    Attributes:
        measurements: of the cases that are done, in their order.
        reader: tests pass their own.
    """

    order: Order
    listener: CaseListener
    cancelled: Callable[[], bool]
    measurements: list[Measurement] = field(default_factory=list)
    reader: CaseReader | None = None
    _failed: int = 0
    _model: Future[Segmenter] | None = None
    _writing: Future[None] | None = None
    _unusable: bool = False

    def run(self, cases: list[Case]) -> int:
        """Segment every case.

        Returns:
            0 when all are done, 1 when any failed.

        Raises:
            Cancelled: when the user asked to stop; finished cases stay.
            FlareError: when nothing could be begun.
        """
        order = self.order
        if order.measurements:
            check_destination(order.measurements, overwrite=order.overwrite)
        turns = InTurn(self.listener)
        try:
            with self.reader or CaseReader(debug=order.debug) as reader:
                for number, case in enumerate(cases):
                    if self._is_done(case):
                        continue
                    work = partial(self._segment, reader, cases[number + 1 :], len(cases) == 1)
                    self._attempt(case, turns.begin(case.name), work)
                    if self._unusable:
                        break
            self._wait_for_writing()
        except OutputGone as gone:
            if isinstance(self.listener, JsonListener) and gone.reader_left:
                raise Cancelled from None
            raise
        finally:
            if self._writing:
                wait([self._writing])
            if order.measurements and self.measurements:
                write_measurements(order.measurements, self.measurements, overwrite=True)
        return 1 if self._failed else 0

    def _is_done(self, case: Case) -> bool:
        return self.order.skip_existing and all(path.exists() for path in case.outputs)

    def _attempt(self, case: Case, voice: Voice, work: Callable[[Case, Voice], None]) -> None:
        """A part of a case; whatever goes wrong in it is told in one line, and costs this case only."""
        try:
            work(case, voice)
        except (Cancelled, OutputGone):
            raise
        except Exception as error:
            self._failed += 1
            if self.order.debug:
                tell(traceback.format_exc())
            voice.error(told(error, case.source))

    def _segment(self, reader: CaseReader, later: list[Case], alone: bool, case: Case, voice: Voice) -> None:
        order = self.order
        for path in case.outputs:
            check_destination(path, overwrite=order.overwrite)
        report = order.report if alone or not order.report else order.report / case.name
        if report:
            check_report(report, overwrite=order.overwrite)
        progress = Progress(voice, self.cancelled)
        with progress.stage("read"):
            self._ahead(reader, case)
            self._model = self._model or aside(self._load, "model")
            volume = reader.read(case.source, force=order.force, series=order.series, cancelled=self.cancelled)
        for note in volume.notes:
            progress.message(note)
        following = next((other for other in later if not self._is_done(other)), None)
        beside = following is not None and room_for_another(volume)
        if beside and following:
            self._ahead(reader, following)
        result = self._loaded().segment(
            volume,
            structures=order.structures,
            roi=order.roi,
            progress=progress,
            preview=partial(self._show, case.name, voice) if order.preview else None,
        )
        finish = partial(self._finish, result, volume, report, alone, progress)
        self._wait_for_writing()  # never more than one at a time, and in order
        if beside:
            self._writing = aside(partial(self._attempt, case, voice, finish), "writing")
        else:
            finish(case, voice)

    def _finish(
        self,
        result: Segmentation,
        volume: Volume,
        report: Path | None,
        alone: bool,
        progress: Progress,
        case: Case,
        voice: Voice,
    ) -> None:
        """Write and measure what was found."""
        order = self.order
        with progress.stage("write"):
            for path in case.outputs:
                write_segmentation(result, path, overwrite=order.overwrite)
        rows: list[Measurement] = []
        if order.measurements or report or alone or isinstance(self.listener, JsonListener):
            rows = measure(result, volume)
            self.measurements += rows
        if report:
            write_report(result, volume, report, rows, overwrite=order.overwrite)
        voice.done(", ".join(str(path) for path in case.outputs), rows)
        if alone and isinstance(self.listener, BarListener):
            print_text(f"{as_table(rows)}\n\n{times(result)}", sys.stdout)

    def _ahead(self, reader: CaseReader, case: Case) -> None:
        reader.ahead(case.source, force=self.order.force, series=self.order.series)

    def _wait_for_writing(self) -> None:
        if self._writing:
            result_of(self._writing, self.cancelled)

    def _show(self, name: str, voice: Voice, coarse: Segmentation) -> None:
        assert self.order.preview
        path = write_segmentation(coarse, self.order.preview / f"{name}.nrrd", overwrite=True)
        voice.preview(str(path))

    def _load(self) -> Segmenter:
        from flareseg.segmenter import Segmenter  # takes seconds, most of them torch's

        return Segmenter(self.order.model, self.order.options)

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


def _listener(kind: str) -> CaseListener:
    return {"bar": BarListener, "json": JsonListener, "none": SilentListener}[kind]()


def _roi(numbers: list[float]) -> WorldBox:
    x0, x1, y0, y1, z0, z1 = numbers
    return WorldBox((min(x0, x1), min(y0, y1), min(z0, z1)), (max(x0, x1), max(y0, y1), max(z0, z1)))
