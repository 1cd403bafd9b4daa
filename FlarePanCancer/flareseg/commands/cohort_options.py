"""`flareseg cohort` on the command line."""

from __future__ import annotations

import argparse
from typing import Any

from flareseg.system.arguments import path


def add_cohort(commands: Any) -> None:
    """Add the command to the subparsers `commands`."""
    parser = commands.add_parser(
        "cohort", help="one page over all results of a folder: unusual ones first, to look through and to judge"
    )
    parser.add_argument("results", type=path, metavar="RESULTS", help="the folder given to 'segment' as --output")
    parser.add_argument(
        "--report",
        type=path,
        metavar="DIR",
        help="write index.html there (default: where the reports are, or RESULTS/cohort)",
    )
    parser.add_argument("--anonymous", action="store_true", help="nothing in the page names a case")
    parser.add_argument("--overwrite", action="store_true", help="replace an index.html that is no such page")
    parser.set_defaults(handler=_cohort)


def _cohort(arguments: argparse.Namespace) -> int:
    from flareseg.commands.cohort import cohort_command

    return cohort_command(arguments)
