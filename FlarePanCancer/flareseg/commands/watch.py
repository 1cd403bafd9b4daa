"""`flareseg watch`: segments what other programs put into a folder, once it is complete there."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flareseg.cases.find import Case, find_cases, with_outputs
from flareseg.commands.batch import Batch
from flareseg.commands.console import listener_of
from flareseg.commands.dicom_options import dicom_of
from flareseg.commands.model_options import options_of
from flareseg.commands.segment_request import SegmentRequest
from flareseg.errors import Cancelled, UsageError
from flareseg.io.files import case_name
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
    changes = [(child, _last_change(child)) for child in children]
    return [(child, changed) for child, changed in changes if changed is not None and changed <= now - seconds]


def _now() -> float:
    """Seconds as of file dates; tests have a clock of their own."""
    return time.time()


def _last_change(path: Path) -> float | None:
    """When anything of it last changed; None where it is empty, or goes away meanwhile.

    A copy may keep the dates of its originals, but not the time at which the system made it.
    """
    try:
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        times = [max(about.st_mtime, about.st_ctime) for about in (one.stat() for one in files)]
    except OSError:
        return None
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
