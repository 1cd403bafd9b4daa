"""Options for many cases: workers of this machine, a Dask cluster, a share of the cases."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from flareseg.errors import UsageError
from flareseg.system.arguments import positive_int, quoted

if TYPE_CHECKING:
    from flareseg.commands.many import Many


def add_many_options(parser: argparse.ArgumentParser) -> None:
    """Let a command have workers."""
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N|auto",
        help="do N cases at once, each worker with its share of the cores (default: one a device of --device)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS|FILE",
        help="have the workers of a Dask cluster do the cases; its scheduler's address, or the file that it wrote",
    )
    parser.add_argument(
        "--shard", type=_shard, metavar="I/N", help="do only the I-th of N equal shares of the cases, 1 to N"
    )


def many_of(arguments: argparse.Namespace) -> Many:
    """What was chosen of them.

    Raises:
        UsageError: for options that exclude each other.
    """
    from flareseg.commands.many import Many  # loads numpy

    many = Many(arguments.workers, arguments.scheduler, arguments.shard)
    if many.scheduler is not None and many.workers is not None:
        raise UsageError("--scheduler has workers of its own; leave out --workers.")
    if arguments.await_inputs and many != Many():
        raise UsageError("--await-inputs takes one CT after the other; leave out --workers, --scheduler and --shard.")
    return many


def _workers(text: str) -> int:
    from flareseg.commands.many import AUTO

    return AUTO if text == "auto" else positive_int(text)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no share like 3/64")
    return int(match[1]), int(match[2])
