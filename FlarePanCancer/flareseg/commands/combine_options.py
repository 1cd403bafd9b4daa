"""How models are put together, as it is typed: `flareseg models combine`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from flareseg.system.streams import print_line


def add_combine_verb(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb to those of `flareseg models`."""
    parser = verbs.add_parser("combine", help="put models together: organs of some, tumours of others, one result")
    parser.add_argument("name", metavar="NAME", help="call it so")
    parser.add_argument(
        "--organs", action="append", required=True, metavar="MODEL", help="draws organs; of several, the first that can"
    )
    parser.add_argument(
        "--tumour",
        action="append",
        default=[],
        metavar="MODEL[:LABEL]@HOST[+MM][/min=ML]",
        help="draws tumours in and up to MM (default 10) around its hosts, from ML (default 0.1) on; LABEL: what it "
        "calls them; HOST: liver, kidneys, ...; several with ','",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model of that name")
    parser.set_defaults(handler=_combine)


def _combine(arguments: argparse.Namespace) -> int:
    from flareseg.interop.combine_models import combine_models

    entry = combine_models(arguments.name, arguments.organs, arguments.tumour, overwrite=arguments.overwrite)
    print_line(f"Put together '{entry.name}'; use it with: flareseg segment CT --model {entry.name}", sys.stdout)
    return 0
