"""`flareseg measurements` on the command line."""

from __future__ import annotations

import argparse
from typing import Any

from flareseg.system.arguments import path


def add_measurements(commands: Any) -> None:
    """Add the command to the subparsers `commands`."""
    parser = commands.add_parser(
        "measurements", help="measure label maps that are there, or say what the columns of measurements are"
    )
    parser.add_argument(
        "results", nargs="*", type=path, metavar="RESULT", help="segmentations of CTs (.nii.gz, .seg.nrrd ...)"
    )
    parser.add_argument("--ct", nargs="+", type=path, default=[], metavar="CT", help="the CTs, in the same order")
    parser.add_argument(
        "-o", "--output", type=path, metavar="FILE", help="write the table (.csv, .json, .parquet; default: show it)"
    )
    parser.add_argument("--features", action="store_true", help="also PyRadiomics' features of shape and first order")
    parser.add_argument(
        "--model", metavar="NAME|FOLDER", help="the numbers mean its structures (default: the 14 of labels.csv)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a table that exists")
    parser.add_argument("--force", action="store_true", help="go on where a CT does not look like one")
    parser.add_argument(
        "--dictionary",
        action="store_true",
        help="instead: every column with its unit, definition and source, as CSV, or in a FILE (.csv, .json, .md)",
    )
    parser.set_defaults(handler=_measurements)


def _measurements(arguments: argparse.Namespace) -> int:
    from flareseg.commands.measurements import measurements_command

    return measurements_command(arguments)
