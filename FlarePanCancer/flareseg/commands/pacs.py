"""`flareseg pacs`: a CT out of an archive, its segmentation and report back into it; may be stopped at any point.

What was done lies in a folder: images as they were fetched, results as they were written. Another run fetches, segments
and sends what is missing; the archive knows by their UIDs what it has.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from flareseg.cases.dicom_files import DicomWanted
from flareseg.cases.find import find_cases, with_outputs
from flareseg.commands.batch import Batch
from flareseg.commands.console import CaseListener, listener_of
from flareseg.commands.model_options import options_of
from flareseg.commands.segment_request import SegmentRequest
from flareseg.errors import InputError, UsageError
from flareseg.pacs.archive import Archive, RemoteSeries, check_uid
from flareseg.system.interrupt import run_until_signal

RIVAL_SHARE = 0.25
"""A CT series with fewer images than this share of the largest one's is no rival: scouts, dose reports."""


def pacs_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg pacs`; returns its exit status."""
    study = check_uid(arguments.study)
    if arguments.series:
        check_uid(arguments.series)
    from flareseg.io.dicom_results.headers import need_highdicom

    need_highdicom()
    archive = Archive(arguments.url)
    listener = listener_of(arguments.progress)

    def work(cancelled: Callable[[], bool]) -> int:
        series = _chosen(archive.series_of(study), study, arguments.series)
        folder = arguments.output / study / series.uid
        results = folder / "results"
        if not results.is_dir() and not arguments.again and archive.has_result(study, series.uid):
            listener.message(f"The archive has a segmentation of series {series.uid} already; --again makes another.")
            return 0
        count = archive.fetch(study, series.uid, folder / "images", cancelled)
        listener.message(f"{count} images of series {series} are in '{folder / 'images'}'.")
        status, files = _segmented(arguments, folder, (listener, cancelled))
        if status == 0:
            stored = archive.send(study, files)
            listener.message(f"{stored} of {len(files)} results were sent; the archive has all of them.")
        return status

    return run_until_signal(work)


def _segmented(
    arguments: argparse.Namespace, folder: Path, follow: tuple[CaseListener, Callable[[], bool]]
) -> tuple[int, Sequence[Path]]:
    """Segment the images in a folder unless it is done; returns the exit status and the results."""
    results = folder / "results"
    request = SegmentRequest(
        model=arguments.model,
        options=options_of(arguments),
        force=arguments.force,
        skip_existing=True,
        dicom=DicomWanted(sr=results, rtstruct=results if arguments.rtstruct else None),
        debug=arguments.debug,
    )
    [case] = with_outputs(find_cases([folder / "images"]).cases, [results], ".dcm")
    status = Batch(request, *follow, keeps_manifest=True).run([case])
    return status, [*case.outputs, *request.dicom.of(case, alone=True)]


def _chosen(every: Sequence[RemoteSeries], study: str, wanted: str | None) -> RemoteSeries:
    """The CT of a study.

    Raises:
        InputError: when there is none.
        UsageError: when there are several to choose from.
    """
    if wanted:
        found = next((one for one in every if one.uid == wanted), None)
        if found is None:
            raise InputError(f"The archive has no series {wanted} in study {study}.")
        return found
    cts = [one for one in every if one.modality == "CT"]
    rivals = [one for one in cts if one.images >= RIVAL_SHARE * cts[0].images]
    if not rivals:
        raise InputError(f"The archive has no CT in study {study}.")
    if len(rivals) > 1:
        raise UsageError(f"The study has {len(rivals)} CTs; choose with --series: {'; '.join(map(str, rivals))}.")
    return rivals[0]
