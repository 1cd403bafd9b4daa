"""`flareseg evaluate`: label maps scored against references; a case that cannot be scored ends none of the others."""

from __future__ import annotations

import argparse
import sys

from flareseg.cases.clashes import refuse_over_inputs
from flareseg.io.atomic import check_destination
from flareseg.results.evaluate import evaluate, summary, write_csv
from flareseg.results.measurement_files import CSV, check_table_name
from flareseg.system.failures import reported
from flareseg.system.streams import print_text, tell
from flareseg.text import visible


def evaluate_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg evaluate`; returns its exit status."""
    output = arguments.output
    if output:
        refuse_over_inputs(output, (arguments.prediction, arguments.reference), "the table of scores")
        check_table_name(output, "Scores", (CSV,))
        check_destination(output, overwrite=arguments.overwrite)

    def failed(case: str, error: Exception) -> None:
        tell(f"flareseg: {visible(case)}: {reported(error, arguments.prediction)}")

    table = evaluate(arguments.prediction, arguments.reference, skip_missing=arguments.skip_missing, on_failure=failed)
    for case in table.cases:
        for note in case.notes:
            tell(f"flareseg: {note}")
    if table.cases:
        if output:
            write_csv(table, output, overwrite=arguments.overwrite)
        print_text(summary(table), sys.stdout)
    return 1 if table.failed else 0
