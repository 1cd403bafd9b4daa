"""The options of commands that run a model: its name, and how it is applied."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from flareseg.options import FLAGS, Options


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take a model and `Options`."""
    parser.add_argument("--model", default="default", metavar="NAME|FOLDER", help="see `flareseg models list`")
    for one in fields(Options):
        flag = FLAGS[one.name]
        how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if flag.parse is not bool:
            how = {"type": flag.parse, "metavar": flag.metavar, "choices": flag.choices}
        parser.add_argument(flag.flag, dest=one.name, default=one.default, help=flag.help, **how)


def options_of(arguments: argparse.Namespace) -> Options:
    """What was chosen of `Options`."""
    return Options(**{name: getattr(arguments, name) for name in FLAGS})
