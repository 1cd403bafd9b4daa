"""The options of `flareseg models available` and `flareseg models get`."""

from __future__ import annotations

import argparse
from typing import Any

from flareseg.system.arguments import path


def add_public_verbs(verbs: Any) -> None:
    """Add both to the verbs of `flareseg models`."""
    available = verbs.add_parser("available", help="public models and presets that can be had, with licence and size")
    available.add_argument("--json", action="store_true", help="as one line of JSON, for programs")
    available.set_defaults(handler=_available)
    getting = verbs.add_parser("get", help="download a public model, or the members of a preset")
    getting.add_argument("model", metavar="NAME", help="see `flareseg models available`")
    getting.add_argument("--yes", action="store_true", help="download it without asking")
    getting.add_argument(
        "--accept-licence",
        action="store_true",
        help="you have read the licence of the weights, and your use is allowed by it",
    )
    getting.add_argument(
        "--from",
        dest="file",
        type=path,
        metavar="FILE",
        help="the model's file, or the folder that was unpacked from it, which you have got in another way",
    )
    getting.add_argument("--name", help="call it so (default: NAME)")
    getting.add_argument("--overwrite", action="store_true", help="replace a model of that name")
    getting.add_argument("--progress", choices=("bar", "json", "none"), default="bar", help="how to show progress")
    getting.set_defaults(handler=_get)
    for verb in (available, getting):
        verb.add_argument(
            "--catalogue",
            type=path,
            metavar="FILE",
            help="further models (default: catalogue.json in the folder of the user's data)",
        )


def _available(arguments: argparse.Namespace) -> int:
    from flareseg.commands.public_models import available_command

    return available_command(arguments)


def _get(arguments: argparse.Namespace) -> int:
    from flareseg.commands.public_models import get_command

    return get_command(arguments)
