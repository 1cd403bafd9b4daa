"""`flareseg segment`: what the user asked for, and the cases that it means."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from flareseg.cases.clashes import refuse_results_among_cts
from flareseg.cases.find import find_cases, with_outputs
from flareseg.commands.batch import Batch
from flareseg.commands.console import BarListener, CaseListener, JsonListener, SilentListener
from flareseg.commands.model_options import options_of
from flareseg.commands.segment_request import SegmentRequest
from flareseg.errors import UsageError
from flareseg.io.files import LABEL_ENDINGS
from flareseg.io.opening import check_kind
from flareseg.labels import Structure
from flareseg.results.measure import check_table_name
from flareseg.results.report import ReportOptions
from flareseg.system.interrupt import end_when, run_until_signal
from flareseg.volume import WorldBox


def segment_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg segment`; returns its exit status."""
    if arguments.format not in LABEL_ENDINGS:
        raise UsageError(f"'{arguments.format}' cannot be written; choose one of {', '.join(LABEL_ENDINGS)}.")
    if arguments.measurements:
        check_table_name(arguments.measurements)
    for path in arguments.inputs:
        check_kind(path)
    request = SegmentRequest(
        model=arguments.model,
        options=options_of(arguments),
        structures=_structures(arguments.structures, arguments.model) if arguments.structures else None,
        roi=_roi(arguments.roi) if arguments.roi else None,
        series=arguments.series,
        force=arguments.force,
        foreign_files=arguments.foreign_files,
        overwrite=arguments.overwrite,
        skip_existing=arguments.skip_existing,
        measurements=arguments.measurements,
        report=arguments.report,
        report_options=_report_options(arguments),
        preview=arguments.preview,
        debug=arguments.debug,
    )
    listener = _listener(arguments.progress)

    def work(cancelled: Callable[[], bool]) -> int:
        if isinstance(listener, JsonListener):
            from flareseg.system.listening import listener_left

            end_when(listener_left())
        found = find_cases(arguments.inputs)
        cases = with_outputs(found.cases, arguments.output, arguments.format)
        results = [path for case in cases for path in case.outputs]
        keeps_manifest = refuse_results_among_cts(found, results, arguments.preview)
        for note in found.notes:
            listener.message(note)
        return Batch(request, listener, cancelled, keeps_manifest).run(cases)

    return run_until_signal(work)


def _report_options(arguments: argparse.Namespace) -> ReportOptions:
    options = ReportOptions(pdf=arguments.pdf, anonymous=arguments.anonymous)
    if not arguments.report and options != ReportOptions():
        flag = "--pdf" if options.pdf else "--anonymous"
        raise UsageError(f"{flag} says how a report is; add --report DIR to have one.")
    return options


def _structures(names: str, model: str) -> tuple[Structure, ...]:
    from flareseg.model.catalogue import structures_in
    from flareseg.model.structures import choose

    return choose(names.split(","), structures_in(model))


def _listener(kind: str) -> CaseListener:
    kinds: dict[str, type[CaseListener]] = {"bar": BarListener, "json": JsonListener, "none": SilentListener}
    return kinds[kind]()


def _roi(numbers: list[float]) -> WorldBox:
    x0, x1, y0, y1, z0, z1 = numbers
    return WorldBox((min(x0, x1), min(y0, y1), min(z0, z1)), (max(x0, x1), max(y0, y1), max(z0, z1)))
