"""`flareseg segment`: one model, many cases; a case that fails does not stop the others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from flareseg.cases import Case, find_cases, with_outputs
from flareseg.clashes import refuse_clashes, refuse_results_among_cts
from flareseg.console import BarListener, CaseListener, JsonListener, SilentListener, print_line, run_until_signal
from flareseg.errors import Cancelled, FlareError, InputError, UsageError
from flareseg.io.atomic import check_destination, make_folder
from flareseg.io.files import LABEL_ENDINGS, read_volume, write_segmentation
from flareseg.labels import Structure
from flareseg.options import Options
from flareseg.outputs import Outputs, check_preview, check_table, model_and_options
from flareseg.progress import Progress
from flareseg.results.measure import Measurement, as_table, check_table_name, measure, write_measurements
from flareseg.results.report import check_report, write_report
from flareseg.resume import Decision, Log
from flareseg.segmentation import Segmentation
from flareseg.segmenter import Segmenter
from flareseg.volume import Volume, WorldBox


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


def segment_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg segment`; returns its exit status."""
    if arguments.format not in LABEL_ENDINGS:
        raise UsageError(f"'{arguments.format}' cannot be written; choose one of {', '.join(LABEL_ENDINGS)}.")
    if arguments.measurements:
        check_table_name(arguments.measurements)
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
    )
    listener = _listener(arguments.progress)

    def work(cancelled: Callable[[], bool]) -> int:
        found = find_cases(arguments.inputs)
        cases = with_outputs(found.cases, arguments.output, arguments.format)
        results = [path for case in cases for path in case.outputs]
        keeps_manifest = refuse_results_among_cts(found, results, arguments.preview)
        for note in found.notes:
            listener.message(note)
        return Batch(order, listener, cancelled, keeps_manifest).run(cases)

    return run_until_signal(work)


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
    """Runs an order over cases, loading the model once, at the first case that needs it."""

    order: Order
    listener: CaseListener
    cancelled: Callable[[], bool]
    keeps_manifest: bool = False
    rows: dict[str, Sequence[Measurement]] = field(default_factory=dict)
    _segmenter: Segmenter | None = None

    def run(self, cases: Sequence[Case]) -> int:
        """Segment every case.

        Returns:
            0 when all are done, 1 when any failed.

        Raises:
            Cancelled: when the user asked to stop; finished cases stay.
            UsageError: when a file would be written over an input, or twice; nothing was done.
            FlareError: when nothing could be begun, e.g. because the model cannot be loaded.
        """
        order = self.order
        outputs = Outputs(cases, order.report, order.preview, order.measurements)
        manifest = outputs.manifest(order.skip_existing or self.keeps_manifest)
        refuse_clashes(cases, outputs.all(manifest))
        if order.measurements:
            check_table(order.measurements, order.overwrite, order.skip_existing)
        log = Log(manifest, partial(model_and_options, order), self._structures, order.skip_existing, order.overwrite)
        failed = 0
        try:
            for case in cases:
                if self.cancelled():
                    raise Cancelled
                self.rows[case.name] = []
                decision = log.decide(case, outputs.of(case), self._read)
                if decision.skip:
                    self._tell(decision.message)
                    self.rows[case.name] = log.rows_of(case)
                    continue
                self.listener.begin(case.name)
                try:
                    self._segment(case, decision, outputs, log)
                except Cancelled:
                    raise
                except FlareError as error:
                    failed += 1
                    self._fail(case, str(error), outputs, log)
                except MemoryError:
                    failed += 1
                    self._fail(case, f"'{case.source}' needs more memory than this machine has free.", outputs, log)
            if summary := log.summary():
                self.listener.message(summary)
        finally:
            self._write_table(cases, log)
        return 1 if failed else 0

    def _segment(self, case: Case, decision: Decision, outputs: Outputs, log: Log) -> None:
        order, alone = self.order, outputs.alone
        if problem := decision.problem or (InputError(case.problem) if case.problem else None):
            raise problem
        self._tell(decision.message)
        for path in case.outputs:
            check_destination(path, overwrite=decision.replace)
        report, preview = outputs.report(case), outputs.preview(case)
        if report:
            check_report(report, overwrite=decision.replace)
        if preview:
            check_preview(preview, overwrite=decision.replace)
        log.reads(case)
        progress = Progress(self.listener, self.cancelled)
        with progress.stage("read"):
            volume = replace(self._read(case), name=case.name)
        for note in volume.notes:
            progress.message(note)
        result = self._model().segment(
            volume,
            structures=order.structures,
            roi=order.roi,
            progress=progress,
            preview=partial(self._show, preview) if preview else None,
        )
        log.started(case, outputs.of(case))
        with progress.stage("write"):
            for path in case.outputs:
                write_segmentation(result, path, overwrite=decision.replace)
        rows: list[Measurement] = []
        if order.measurements or report or alone or log.kept or isinstance(self.listener, JsonListener):
            rows = measure(result, volume)
            self.rows[case.name] = rows
        if report:
            write_report(result, volume, report, rows, overwrite=decision.replace)
        log.done(case, outputs.of(case), rows)
        self.listener.done(", ".join(str(path) for path in case.outputs), rows)
        if alone and isinstance(self.listener, BarListener):
            print(f"{as_table(rows)}\n\n{times(result)}")

    def _read(self, case: Case) -> Volume:
        return read_volume(case.source, force=self.order.force, series=self.order.series or case.series)

    def _fail(self, case: Case, text: str, outputs: Outputs, log: Log) -> None:
        self.listener.error(text)
        log.failed(case, outputs.of(case), text)

    def _tell(self, text: str) -> None:
        """What must be heard also by those who want no progress."""
        if text:
            self.listener.message(text)
            if isinstance(self.listener, SilentListener):
                print_line(text, sys.stderr)

    def _write_table(self, cases: Sequence[Case], log: Log) -> None:
        if not self.order.measurements:
            return
        rows = [row for case in cases for row in self.rows.get(case.name, log.rows_of(case))]
        if rows:
            write_measurements(self.order.measurements, rows, overwrite=True)

    def _show(self, path: Path, coarse: Segmentation) -> None:
        make_folder(path.parent)
        write_segmentation(coarse, path, overwrite=True)
        self.listener.preview(str(path))

    def _structures(self) -> Sequence[Structure]:
        from flareseg.model.catalogue import structures_in

        return self.order.structures or structures_in(self.order.model)

    def _model(self) -> Segmenter:
        if self._segmenter is None:
            self._segmenter = Segmenter(self.order.model, self.order.options)
        return self._segmenter


def times(result: Segmentation) -> str:
    """One line: where the time went."""
    parts = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in result.seconds.items())
    return f"{sum(result.seconds.values()):.2f} s ({parts}) with {result.model}"


def _listener(kind: str) -> CaseListener:
    return {"bar": BarListener, "json": JsonListener, "none": SilentListener}[kind]()


def _roi(numbers: list[float]) -> WorldBox:
    x0, x1, y0, y1, z0, z1 = numbers
    return WorldBox((min(x0, x1), min(y0, y1), min(z0, z1)), (max(x0, x1), max(y0, y1), max(z0, z1)))
