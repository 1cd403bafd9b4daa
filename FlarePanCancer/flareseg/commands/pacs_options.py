"""The options of `flareseg pacs`."""

from __future__ import annotations

import argparse
from pathlib import Path

from flareseg.commands.model_options import add_model_options
from flareseg.system.arguments import path


def add_pacs_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--url", required=True, help="of the archive's DICOMweb, e.g. http://localhost:8042/dicom-web")
    parser.add_argument("--study", required=True, metavar="UID", help="StudyInstanceUID")
    parser.add_argument("--series", metavar="UID", help="SeriesInstanceUID, where the study has several CTs")
    parser.add_argument(
        "-o",
        "--output",
        type=path,
        default=Path("flareseg_pacs"),
        metavar="DIR",
        help="folder for images and results, of which an interrupted run goes on (default flareseg_pacs)",
    )
    parser.add_argument("--rtstruct", action="store_true", help="send a structure set for planning too")
    parser.add_argument(
        "--again", action="store_true", help="segment also where the archive has a segmentation of flareseg already"
    )
    parser.add_argument("--force", action="store_true", help="go on where the input does not look like a CT")
    parser.add_argument("--progress", choices=("bar", "json", "none"), default="bar", help="how to show progress")
    add_model_options(parser)
