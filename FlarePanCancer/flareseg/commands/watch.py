"""`flareseg watch`: segments what other programs put into a folder, once it is complete there."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flareseg.cases.clashes import files_of
from flareseg.cases.find import Case, find_cases, with_outputs
from flareseg.commands.batch import Batch
from flareseg.commands.console import listener_of
from flareseg.commands.dicom_options import dicom_of
from flareseg.commands.model_options import options_of
from flareseg.commands.segment_request import SegmentRequest
from flareseg.errors import Cancelled, UsageError
from flareseg.io.dicom import is_container, is_dicomdir, series_uid
from flareseg.io.dicom.headers import beginning_of, is_dicom
from flareseg.io.files import DICOM_ENDINGS, case_name, ending_of
from flareseg.io.pairs import is_second_file
from flareseg.system.interrupt import run_until_signal

LOOK_S = 5.0
"""Between two looks into the folder."""
NAP_S = 0.2


def watch_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg watch`; returns its exit status, of the last look."""
    folder, output = Path(os.path.realpath(arguments.folder)), Path(os.path.realpath(arguments.output))
    if not folder.is_dir():
        raise UsageError(f"There is no folder '{arguments.folder}' to watch.")
    if output == folder or folder in output.parents:
        raise UsageError("Results in the folder that is watched would be taken for CTs; choose another --output.")
    dicom = (arguments.dicom_seg, arguments.dicom_sr, arguments.rtstruct)
    if any(path and path.suffix.lower() == ".dcm" for path in dicom):
        raise UsageError("DICOM results of a watched folder go into folders; give names that do not end in .dcm.")
    arguments.output = [arguments.output]
    request = SegmentRequest(
        model=arguments.model,
        options=options_of(arguments),
        force=arguments.force,
        skip_existing=True,
        dicom=dicom_of(arguments),
        debug=arguments.debug,
    )
    listener = listener_of(arguments.progress)
    tried: dict[str, float] = {}  # what was done or failed, with the time of its last change

    def work(cancelled: Callable[[], bool]) -> int:
        while True:
            status = 0
            for child, changed in _settled(arguments.folder, arguments.settle):
                if tried.get(child.name) == changed:
                    continue
                tried[child.name] = changed
                cases = with_outputs(_cases(child), arguments.output, arguments.format)
                status = max(status, Batch(request, listener, cancelled, keeps_manifest=True).run(cases))
            if arguments.once:
                return status
            _wait(LOOK_S, cancelled)

    return run_until_signal(work)


def _settled(folder: Path, seconds: float) -> list[tuple[Path, float]]:
    """What lies in a folder and has not changed for so long, with the time of the last change."""
    now = _now()
    children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
    changes = [
        (child, _last_change(files, now)) for child, files in _parts([one for one in children if _may_be_ct(one)])
    ]
    return [(child, changed) for child, changed in changes if changed is not None and changed <= now - seconds]


def _now() -> float:
    """Seconds as of file dates; tests have a clock of their own."""
    return time.time()


def _may_be_ct(path: Path) -> bool:
    """Whether it is there to be read: no notes, no voxels of a header beside them, no download that is under way."""
    if not path.is_file():
        return True
    if is_second_file(path):
        return False
    is_named = ending_of(path) or path.suffix.lower() in DICOM_ENDINGS or is_dicomdir(path)
    return bool(is_named) or is_dicom(beginning_of(path))


def _parts(children: list[Path]) -> list[tuple[Path, list[Path]]]:
    """What stands for each CT, and all that it is of: of loose DICOM slices the first one stands for its series."""
    found: dict[object, list[Path]] = {}
    for child in children:
        loose = child.is_file() and not ending_of(child) and not is_container(child)
        uid = series_uid(child) if loose else None
        found.setdefault(uid or child, []).append(child)
    return [(paths[0], paths) for paths in found.values()]


def _last_change(paths: list[Path], now: float) -> float | None:
    """When anything of it last changed, the voxels of a header included; None where it is empty or goes away meanwhile.

    A copy may keep the dates of its originals, which may lie in the future, but not the time at which the system made
    it.
    """
    try:
        files = [one for path in paths for one in (files_of(path) or path.rglob("*"))]
        found = [one.stat() for one in files if one.is_file()]
    except OSError:
        return None
    times = [max(about.st_ctime, about.st_mtime if about.st_mtime <= now else 0.0) for about in found]
    return max(times, default=None)


def _cases(child: Path) -> list[Case]:
    """The CTs of a child; their names do not depend on what else lies in the folder, now or later."""
    cases = find_cases([child]).cases
    name = case_name(child) if child.is_file() else child.name
    return [replace(case, name=name if len(cases) == 1 else f"{name}_{case.name}") for case in cases]


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if cancelled():
            raise Cancelled
        time.sleep(NAP_S)
