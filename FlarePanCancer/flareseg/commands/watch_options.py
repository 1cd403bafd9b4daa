"""The options of `flareseg watch`."""

from __future__ import annotations

import argparse

from flareseg.commands.dicom_options import add_dicom_options
from flareseg.commands.model_options import add_model_options
from flareseg.io.writers import endings_for
from flareseg.system.arguments import path, positive


def add_watch_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("folder", type=path, help="each folder or file in it is one CT, or several by their folders")
    parser.add_argument("-o", "--output", required=True, type=path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--format", default=".nii.gz", choices=endings_for("segmentation"), help="of results (default .nii.gz)"
    )
    parser.add_argument(
        "--settle",
        type=positive,
        default=60.0,
        metavar="SECONDS",
        help="a CT is complete when nothing of it has changed for so long (default 60)",
    )
    parser.add_argument("--once", action="store_true", help="do what is complete now, and end")
    parser.add_argument("--force", action="store_true", help="go on where the input does not look like a CT")
    parser.add_argument("--progress", choices=("bar", "json", "none"), default="bar", help="how to show progress")
    add_dicom_options(parser)
    add_model_options(parser)
