"""The file of the sample CT, where Slicer's Sample Data module keeps it, downloaded by a process of its own.

Slicer's own download keeps the window waiting for the network.

    python -m FlarePanCancerLib.sample_fetch URL SHA256 FILE
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from FlarePanCancerLib.dependencies import find_python_slicer
from FlarePanCancerLib.pipe_lines import PipeLines
from FlarePanCancerLib.process import environment
from FlarePanCancerLib.process_tree import ProcessTree
from flareseg.commands.sample import FILE_NAME, SHA256
from flareseg.errors import FlareError

URL = (
    "https://github.com/wasserth/TotalSegmentator/raw/0effae9d718aab0c118ce1f8982dcd16b9e32a50"
    "/tests/reference_files/example_ct.nii.gz"
)
"""The file that `flareseg sample` takes out of an archive of 38 MB, alone: 2 MB. The commit makes it unchangeable."""
LOOK_EVERY_S = 0.02
PATIENCE_S = 60.0
"""A download of 2 MB that takes longer is given up."""
MOST_BYTES = 2**24


class FetchError(FlareError):
    """The sample CT could not be had: one sentence."""


def fetch_sample(keep_alive: Callable[[], object]) -> Path:
    """The sample CT's file; downloaded where it is not there yet.

    Args:
        keep_alive: called again and again meanwhile, such as `slicer.app.processEvents`.

    Raises:
        FetchError: when it cannot be had.
    """
    path = cached_sample()
    if not is_sample(path):
        _download(path, keep_alive)
    return path


def cached_sample() -> Path:
    """Where Slicer's Sample Data module keeps the file, once it has been downloaded."""
    import slicer

    return Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / FILE_NAME


def is_sample(path: Path) -> bool:
    """Whether a file is the sample CT, whole."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


def _download(path: Path, keep_alive: Callable[[], object]) -> None:
    command = [find_python_slicer() or sys.executable, "-m", "FlarePanCancerLib.sample_fetch", URL, SHA256, str(path)]
    try:
        tree = ProcessTree(command, environment(os.environ))
    except OSError as error:
        raise FetchError(f"No Python can be started: {error}.") from None
    errors, said = PipeLines(tree.errors, 1000), [b""]
    began = time.monotonic()
    try:
        while tree.status is None:
            keep_alive()
            said += errors.take()
            if time.monotonic() - began > PATIENCE_S:
                raise FetchError("The sample CT could not be downloaded in time; check the network.")
            time.sleep(LOOK_EVERY_S)
        said += errors.take()
    finally:
        tree.kill()
    if not is_sample(path):
        raise FetchError(said[-1].decode("utf-8", "replace") or "The sample CT could not be downloaded.")


def main(arguments: Sequence[str]) -> int:
    """Download one file; the reason of a failure is the last line on standard error."""
    from flareseg.io.atomic import atomic_path
    from flareseg.public.transport import ask, pieces

    address, digest, target = arguments
    found = hashlib.sha256()
    try:
        with (
            ask(address, {}) as answer,
            atomic_path(Path(target), overwrite=True) as partial,
            partial.open("wb") as file,
        ):
            for piece in pieces(answer, lambda: False):
                found.update(piece)
                file.write(piece)
                if file.tell() > MOST_BYTES:
                    break
            if found.hexdigest() != digest:
                raise FetchError("What was downloaded is not the sample CT; it was discarded.")
    except FlareError as error:
        print(f"{str(error).rstrip('.')}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
