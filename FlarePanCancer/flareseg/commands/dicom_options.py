"""The options of `flareseg segment` for results in DICOM."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from flareseg.errors import UsageError
from flareseg.io.writers import is_dicom_result
from flareseg.system.arguments import path

if TYPE_CHECKING:
    from flareseg.cases.dicom_files import DicomWanted


def add_dicom_options(parser: argparse.ArgumentParser) -> None:
    """Let a command write DICOM results; the CT must be DICOM."""
    for flag, what in (
        ("--dicom-seg", "a DICOM segmentation"),
        ("--dicom-sr", "a DICOM report of volumes, HU and lesion diameters"),
        ("--rtstruct", "a DICOM structure set for planning"),
    ):
        parser.add_argument(
            flag,
            type=path,
            metavar="FILE|DIR",
            help=f"write {what}: a file ending in .dcm, or a folder; the CT must be DICOM",
        )


def dicom_of(arguments: argparse.Namespace) -> DicomWanted:
    """What was asked for.

    Raises:
        UsageError: for a report of a segmentation that is not written, or without the package that writes them.
    """
    from flareseg.cases.dicom_files import DicomWanted  # loads NumPy, which the command line's help can do without

    wanted = DicomWanted(arguments.dicom_seg, arguments.dicom_sr, arguments.rtstruct)
    by_name = [is_dicom_result(path) for path in arguments.output if not path.is_dir()]
    ends_so = any(by_name) or (not any(path.suffix for path in arguments.output) and arguments.format == ".dcm")
    if wanted.sr and not (wanted.seg or ends_so):
        raise UsageError("--dicom-sr refers to a DICOM segmentation, and none is written; add --dicom-seg FILE.")
    if wanted.seg or wanted.sr or ends_so:
        from flareseg.io.dicom_results.headers import need_highdicom

        need_highdicom()
    return wanted
