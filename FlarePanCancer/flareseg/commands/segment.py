"""`flareseg segment`: what the user asked for, and the cases that it means."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from flareseg.cases.clashes import refuse_results_among_cts
from flareseg.cases.find import awaited_cases, find_cases, listed_inputs, with_outputs
from flareseg.commands.batch import Batch
from flareseg.commands.console import JsonListener, insist, listener_of
from flareseg.commands.dicom_options import dicom_of
from flareseg.commands.many_options import many_of
from flareseg.commands.model_options import options_of
from flareseg.commands.segment_request import SegmentRequest
from flareseg.errors import UsageError
from flareseg.io.opening import check_kind
from flareseg.io.writers import endings_for
from flareseg.labels import Structure
from flareseg.results.measurement_files import check_measurements_name
from flareseg.results.report import ReportOptions
from flareseg.system.interrupt import end_when, run_until_signal
from flareseg.volume import WorldBox


def segment_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg segment`; returns its exit status."""
    endings = endings_for("segmentation")
    if arguments.format not in endings:
        raise UsageError(f"'{arguments.format}' cannot be written; choose one of {', '.join(endings)}.")
    if arguments.measurements:
        check_measurements_name(arguments.measurements)
    elif arguments.features:
        raise UsageError("--features adds columns to measurements; add --measurements FILE to have them.")
    inputs = [*arguments.inputs, *(listed_inputs(arguments.list) if arguments.list else ())]
    if not inputs:
        raise UsageError("No CT is named; give at least one INPUT, or --list FILE.")
    if arguments.await_inputs and arguments.skip_existing:
        raise UsageError("--skip-existing looks at the CTs first; without it, --await-inputs waits for them.")
    if len(inputs) == 1 and not arguments.await_inputs:  # one of several fails alone, when its turn comes
        check_kind(inputs[0])
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
        features=arguments.features,
        report=arguments.report,
        report_options=_report_options(arguments),
        preview=arguments.preview,
        dicom=dicom_of(arguments),
        await_inputs=arguments.await_inputs,
        many=many_of(arguments),
        debug=arguments.debug,
    )
    listener = listener_of(arguments.progress)

    def work(cancelled: Callable[[], bool]) -> int:
        if isinstance(listener, JsonListener):
            from flareseg.system.listening import listener_left

            end_when(listener_left())
        found = awaited_cases(inputs) if request.await_inputs else find_cases(inputs)
        cases = with_outputs(found.cases, arguments.output, arguments.format)
        results = [path for case in cases for path in case.outputs]
        results += [path for case in cases for path in request.dicom.of(case, len(cases) == 1)]
        keeps_manifest = refuse_results_among_cts(found, results, arguments.preview)
        for note in found.notes:
            listener.message(note)
            insist(listener, note)
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


def _roi(numbers: list[float]) -> WorldBox:
    x0, x1, y0, y1, z0, z1 = numbers
    return WorldBox((min(x0, x1), min(y0, y1), min(z0, z1)), (max(x0, x1), max(y0, y1), max(z0, z1)))
