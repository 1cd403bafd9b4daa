"""`flareseg segment`: one model, many cases; a case that fails does not stop the others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from flareseg.cases import Case, find_cases, with_outputs
from flareseg.console import BarListener, CaseListener, JsonListener, SilentListener, run_until_signal
from flareseg.errors import Cancelled, FlareError, UsageError
from flareseg.io.atomic import check_destination
from flareseg.io.files import LABEL_ENDINGS, read_volume, write_segmentation
from flareseg.labels import Structure
from flareseg.leftovers import remove_leftovers
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.results.measure import Measurement, as_table, measure, write_measurements
from flareseg.results.report import check_report, write_report
from flareseg.segmentation import Segmentation
from flareseg.segmenter import Segmenter
from flareseg.volume import WorldBox


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
    )
    listener = _listener(arguments.progress)
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
    """Runs an order over cases, loading the model once, at the first case that needs it."""

    order: Order
    listener: CaseListener
    cancelled: Callable[[], bool]
    measurements: list[Measurement] = field(default_factory=list)
    _segmenter: Segmenter | None = None

    def run(self, cases: list[Case]) -> int:
        """Segment every case.

        Returns:
            0 when all are done, 1 when any failed.

        Raises:
            Cancelled: when the user asked to stop; finished cases stay.
            FlareError: when nothing could be begun, e.g. because the model cannot be loaded.
        """
        order = self.order
        if order.measurements:
            check_destination(order.measurements, overwrite=order.overwrite)
        failed = 0
        for folder in self._folders_written_to(cases):
            remove_leftovers(folder, once=True)
        try:
            for case in cases:
                if order.skip_existing and all(path.exists() for path in case.outputs):
                    continue
                self.listener.begin(case.name)
                try:
                    self._segment(case, alone=len(cases) == 1)
                except Cancelled:
                    raise
                except FlareError as error:
                    failed += 1
                    self.listener.error(str(error))
                except MemoryError:
                    failed += 1
                    self.listener.error(f"'{case.source}' needs more memory than this machine has free.")
        finally:
            if order.measurements and self.measurements:
                write_measurements(order.measurements, self.measurements, overwrite=True)
        return 1 if failed else 0

    def _folders_written_to(self, cases: list[Case]) -> set[Path]:
        order = self.order
        files = [path for case in cases for path in case.outputs] + [path for path in (order.measurements,) if path]
        folders = [folder for folder in (order.report, order.preview) if folder]
        folders += [order.report / case.name for case in cases if order.report]
        return {path.parent for path in files} | set(folders)

    def _segment(self, case: Case, alone: bool) -> None:
        order = self.order
        for path in case.outputs:
            check_destination(path, overwrite=order.overwrite)
        report = order.report if alone or not order.report else order.report / case.name
        if report:
            check_report(report, overwrite=order.overwrite)
        progress = Progress(self.listener, self.cancelled)
        with progress.stage("read"):
            volume = read_volume(case.source, force=order.force, series=order.series)
        for note in volume.notes:
            progress.message(note)
        result = self._model().segment(
            volume,
            structures=order.structures,
            roi=order.roi,
            progress=progress,
            preview=partial(self._show, case.name) if order.preview else None,
        )
        with progress.stage("write"):
            for path in case.outputs:
                write_segmentation(result, path, overwrite=order.overwrite)
        rows: list[Measurement] = []
        if order.measurements or report or alone or isinstance(self.listener, JsonListener):
            rows = measure(result, volume)
            self.measurements += rows
        if report:
            write_report(result, volume, report, rows, overwrite=order.overwrite)
        self.listener.done(", ".join(str(path) for path in case.outputs), rows)
        if alone and isinstance(self.listener, BarListener):
            print(f"{as_table(rows)}\n\n{times(result)}")

    def _show(self, name: str, coarse: Segmentation) -> None:
        assert self.order.preview
        path = self.order.preview / f"{name}.nrrd"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_segmentation(coarse, path, overwrite=True)
        self.listener.preview(str(path))

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
