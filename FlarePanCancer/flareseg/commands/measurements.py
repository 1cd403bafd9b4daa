"""`flareseg measurements`: the measurements of label maps that are there, such as results that were edited by hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flareseg.cases.clashes import refuse_over_inputs
from flareseg.errors import Cancelled, InputError, UsageError
from flareseg.io.atomic import check_destination
from flareseg.io.files import read_labels
from flareseg.labels import Structure, structures
from flareseg.reading.reader import CaseReader
from flareseg.results.evaluate import names_of
from flareseg.results.foreign_values import note_on_foreign_values
from flareseg.results.grids import on_grid
from flareseg.results.measure import Measurement, as_table, measure
from flareseg.results.measurement_files import (
    check_dictionary_name,
    check_measurements_name,
    dictionary_text,
    write_dictionary,
    write_measurements,
)
from flareseg.segmentation import Segmentation
from flareseg.system.failures import reported
from flareseg.system.interrupt import run_until_signal
from flareseg.system.streams import print_text, tell
from flareseg.text import shown, visible
from flareseg.volume import Volume

UNKNOWN_MODEL = "unknown"


def measurements_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg measurements`; returns its exit status."""
    if arguments.dictionary:
        return _dictionary(arguments)
    _check(arguments)
    named = _structures(arguments.model)

    def work(cancelled: Callable[[], bool]) -> int:
        rows: list[Measurement] = []
        failed = False
        with CaseReader() as reader:
            for result, name, ct in zip(arguments.results, names_of(arguments.results), arguments.ct, strict=True):
                if cancelled():
                    raise Cancelled
                try:
                    volume = reader.read(ct, force=arguments.force, cancelled=cancelled)
                    found = measure(_segmentation(result, name, volume, named), volume, features=arguments.features)
                except Cancelled:
                    raise
                except Exception as error:  # of this case alone
                    failed = True
                    tell(f"flareseg: {visible(name)}: {reported(error, result)}")
                    continue
                rows += found
                if not arguments.output:
                    print_text(f"{visible(name)}\n{as_table(found)}\n", sys.stdout)
        if arguments.output and rows:
            write_measurements(arguments.output, rows, overwrite=arguments.overwrite)
        return 1 if failed else 0

    return run_until_signal(work)


def _dictionary(arguments: argparse.Namespace) -> int:
    if arguments.results or arguments.ct:
        raise UsageError("--dictionary is about columns, not about results; name none.")
    if arguments.output:
        check_dictionary_name(arguments.output)
        write_dictionary(arguments.output, overwrite=arguments.overwrite)
    else:
        print_text(dictionary_text().rstrip("\n"), sys.stdout)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """See that the command makes sense and its file can be written, before anything is read."""
    count = len(arguments.results)
    if not count:
        raise UsageError("No segmentation is named: flareseg measurements RESULT --ct CT.")
    if len(arguments.ct) != count:
        raise UsageError(f"--ct needs one CT for each of the {count} results, and got {len(arguments.ct)}.")
    if arguments.output:
        check_measurements_name(arguments.output)
        refuse_over_inputs(arguments.output, [*arguments.results, *arguments.ct], "the table of measurements")
        check_destination(arguments.output, overwrite=arguments.overwrite)
    elif arguments.features:
        raise UsageError("--features adds columns to a file; add -o FILE to have them.")


def _structures(model: str | None) -> Sequence[Structure]:
    if model is None:
        return structures()
    from flareseg.model.catalogue import structures_in

    return structures_in(model)


def _segmentation(result: Path, name: str, volume: Volume, named: Sequence[Structure]) -> Segmentation:
    labels, geometry = read_labels(result)
    reordered = on_grid(labels, geometry, volume.geometry)
    if reordered is None:
        raise InputError(f"'{shown(result)}' does not lie on the grid of the CT '{volume.name}'; give its own CT.")
    if note := note_on_foreign_values(result, labels, named, "measured"):
        tell(f"flareseg: {note}")
    return Segmentation(reordered, volume.geometry, tuple(named), name, UNKNOWN_MODEL)
