"""Worker processes, of this machine or of a Dask cluster, with a model that only compares, and cases that go wrong."""

from __future__ import annotations

import os
import signal
import sys
import time
import types
from pathlib import Path

from quick_segmenter import QuickSegmenter

BOOT_QUICK = """
import sys
sys.path[:] = sys.argv[1:]
from quick_workers import install
install()
from flareseg.commands.crew_worker import main
main()
"""
COMMAND_QUICK = """
import sys
from quick_workers import install
install()
from flareseg.cli import main
sys.exit(main(sys.argv[1:]))
"""
NOTES = "FLARESEG_TEST_NOTES"
"""Environment variable: the folder in which every segmentation leaves a file."""


class UnluckySegmenter(QuickSegmenter):
    """`kill_once` ends its process at the first try, `kill_always` at every; `slow` takes its time."""

    def segment(self, volume, **options):
        notes = Path(os.environ[NOTES])
        tries = len(list(notes.glob(f"{volume.name}-*")))
        (notes / f"{volume.name}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if volume.name.startswith("kill_always") or (volume.name.startswith("kill_once") and tries == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if volume.name.startswith("slow"):
            time.sleep(0.3)
        return super().segment(volume, **options)


def install() -> None:
    """In this process, `flareseg.segmenter` has the quick model; torch is not even imported."""
    module = types.ModuleType("flareseg.segmenter")
    module.Segmenter = UnluckySegmenter
    sys.modules["flareseg.segmenter"] = module


def times_segmented(notes: Path, name: str) -> int:
    return len(list(notes.glob(f"{name}-*")))
