"""Options for what `flareseg segment` writes beside the labels."""

from __future__ import annotations

import argparse

from flareseg.commands.dicom_options import add_dicom_options
from flareseg.system.arguments import path


def add_beside_options(parser: argparse.ArgumentParser) -> None:
    """Measurements, report, coarse result, and results in DICOM."""
    parser.add_argument(
        "--measurements",
        type=path,
        metavar="FILE",
        help="write volume, shape and HU of every structure and lesion (.csv, .json, .parquet)",
    )
    parser.add_argument(
        "--features",
        action="store_true",
        help="with --measurements: also PyRadiomics' features of shape and first order",
    )
    parser.add_argument("--report", type=path, metavar="DIR", help="write pictures and a page to look at")
    add_dicom_options(parser)
    parser.add_argument("--pdf", action="store_true", help="with --report: also write report.pdf, a page to print")
    parser.add_argument(
        "--anonymous", action="store_true", help="with --report: nothing in the report's files names the case"
    )
    parser.add_argument(
        "--preview", type=path, metavar="DIR", help="write a first, coarse result (NAME.nrrd) there within seconds"
    )
