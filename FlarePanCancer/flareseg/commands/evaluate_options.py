"""`flareseg evaluate` on the command line."""

from __future__ import annotations

import argparse
from typing import Any

from flareseg.system.arguments import path


def add_evaluate(commands: Any) -> None:
    """Add the command to the subparsers `commands`."""
    parser = commands.add_parser("evaluate", help="DSC and NSD by FLARE's rules")
    parser.add_argument("prediction", type=path, help="a label map, or a folder of them")
    parser.add_argument("reference", type=path, help="a label map, or a folder of them with the same names")
    parser.add_argument("-o", "--output", type=path, metavar="CSV", help="write the scores of every case and structure")
    parser.add_argument("--skip-missing", action="store_true", help="leave out references without a prediction")
    parser.add_argument("--overwrite", action="store_true", help="replace a table that exists")
    parser.set_defaults(handler=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from flareseg.commands.evaluate import evaluate_command

    return evaluate_command(arguments)
