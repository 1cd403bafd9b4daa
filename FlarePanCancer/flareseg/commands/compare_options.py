"""`flareseg compare` on the command line."""

from __future__ import annotations

import argparse
from datetime import date, datetime
from typing import Any

from flareseg.system.arguments import path, quoted


def add_compare(commands: Any) -> None:
    """Add the command to the subparsers `commands`."""
    parser = commands.add_parser(
        "compare", help="follow-up: the lesions and organs of one patient at two or more dates, side by side"
    )
    parser.add_argument(
        "results",
        nargs="+",
        type=path,
        metavar="RESULT",
        help="segmentations of the CTs, the earliest first (.nii.gz, .seg.nrrd ...), at least two",
    )
    parser.add_argument(
        "--ct", nargs="+", type=path, metavar="CT", help="the CTs of the results, in their order: for HU and pictures"
    )
    parser.add_argument(
        "--dates",
        nargs="+",
        type=_date,
        metavar="YYYY-MM-DD",
        help="when they were scanned, in the order of the results (default: as the CTs' DICOM says)",
    )
    parser.add_argument("-o", "--output", type=path, metavar="FILE", help="write the table (.csv, or .json for all)")
    parser.add_argument("--report", type=path, metavar="DIR", help="write pictures and a page to look at; needs --ct")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--force", action="store_true", help="go on where a CT does not look like one")
    parser.add_argument("--json", action="store_true", help="print all of it as one line of JSON, for programs")
    parser.set_defaults(handler=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from flareseg.commands.compare import compare_command

    return compare_command(arguments)


def _date(text: str) -> date:
    for form in ("%Y-%m-%d", "%Y%m%d"):
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"{quoted(text)} is no date like 2024-01-31")
