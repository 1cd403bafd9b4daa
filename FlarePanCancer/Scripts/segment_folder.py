"""Segment every CT of a folder, with the model loaded once; a damaged CT does not stop the others.

    Slicer --no-splash --no-main-window --python-script segment_folder.py -- IN OUT [options]
    PythonSlicer segment_folder.py IN OUT [options]
    python segment_folder.py IN OUT [options]

IN is a CT file, a DICOM folder, or a folder of cases; OUT gets NAME.seg.nrrd of each. Cases that are done are left out,
so that a run that was stopped goes on where it was; --overwrite does them again.
Exit status: 0 all done, 1 some case failed, 2 wrong usage, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO, cast

MODULE_FOLDER = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str]) -> int:
    """Run; returns the exit status."""
    # Slicer takes the -- of its own command line away, other Pythons do not
    asked = _parser().parse_args(arguments[1:] if arguments[:1] == ["--"] else arguments)
    if str(MODULE_FOLDER) not in sys.path:
        sys.path.insert(0, str(MODULE_FOLDER))
    from FlarePanCancerLib.dependencies import blocking, missing
    from flareseg.cli import main as flareseg

    if absent := blocking(missing()):
        names = ", ".join(requirement.distribution for requirement in absent)
        return _failed(f"{names} not found: press Segment once in Slicer's module FlarePanCancer, which installs them")
    try:
        # made here, because flareseg takes a new name with a dot in it for a file
        asked.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _failed(f"the folder '{asked.output}' cannot be made: {error.strerror}")
    command = ["segment", str(asked.input), "-o", str(asked.output), "--format", ".seg.nrrd", "--progress", "json"]
    command += ["--model", asked.model, "--device", asked.device]
    command += ["--structures", asked.structures] if asked.structures else []
    command += ["--overwrite" if asked.overwrite else "--skip-existing"]
    lines = CaseLines(sys.stdout)
    with redirect_stdout(cast(TextIO, lines)):
        status = flareseg(command)
    print(f"{lines.done} done, {lines.failed} failed", flush=True)
    return status


class CaseLines:
    """Takes flareseg's JSON lines and prints one line per case that is done; failures are on standard error."""

    def __init__(self, stream: TextIO) -> None:
        self.done = self.failed = 0
        self._stream = stream
        self._rest = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(line)
        return len(text)

    def _tell(self, line: str) -> None:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            # not from flareseg
            self._stream.write(f"{line}\n")
            return
        if event["event"] == "error":
            self.failed += 1
        elif event["event"] == "done":
            self.done += 1
            self._stream.write(f"{event['case']}: {event['output']}\n")
            self._stream.flush()


def _failed(reason: str) -> int:
    print(f"segment_folder.py: {reason}.", file=sys.stderr, flush=True)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="segment_folder.py", description="Segment every CT of a folder.")
    parser.add_argument("input", type=Path, metavar="IN", help="a CT file, a DICOM folder, or a folder of cases")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder that gets NAME.seg.nrrd of each case")
    parser.add_argument("--model", default="default", metavar="NAME|FOLDER", help="default: the embedded one")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--structures", metavar="NAMES", help="only these, e.g. liver,spleen,tumour (default: all)")
    parser.add_argument("--overwrite", action="store_true", help="segment again what is done")
    return parser


def how_to_leave() -> Callable[[int], Any]:
    """Close Slicer; any other Python exits."""
    try:
        import slicer.util
        from slicer import app  # noqa: F401  (PythonSlicer has slicer too, but no application)
    except ImportError:
        return sys.exit
    return cast(Callable[[int], Any], slicer.util.exit)


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except SystemExit as wrong_usage:
        status = wrong_usage.code if isinstance(wrong_usage.code, int) else 2
    except BaseException:
        # whatever it is, Slicer must not stay running without a window
        traceback.print_exc()
        status = 1
    how_to_leave()(status)
