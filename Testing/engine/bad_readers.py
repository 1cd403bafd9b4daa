"""Reading processes that go wrong, each in the way that the name of the file says."""

from pathlib import Path

from flareseg.reading.process import BOOT

BAD = """
import ctypes, os, signal, time
import numpy as np
from flareseg.reading.worker import main, read

kept = []

def bad_read(request):
    name = request.source.name
    if name.startswith("abort"):
        os.abort()
    if name.startswith("segfault"):
        ctypes.string_at(0)
    if name.startswith("exit"):
        os._exit(3)
    if name.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("hang"):
        time.sleep(600)
    if name.startswith("stuck"):  # in a library that keeps Python's lock
        ctypes.PyDLL(None).sleep(600)
    if name.startswith("allocates"):
        kept.append(np.ones(2**29, np.uint8))
    if name.startswith("recursion"):
        return bad_read(request)
    if name.startswith("key"):
        return {}["a library's own error\\nin two lines"]
    if name.startswith("system"):
        raise SystemExit(7)
    if name.startswith("talks"):
        print("not for the pipe", flush=True)
        os.write(1, b"nor this")
    return read(request)

main(int(sys.argv[1]), bad_read)
"""
"""A process whose reading goes wrong in the way that the file's name says."""


def with_main(text: str) -> str:
    """What a reading process runs, with another way to begin."""
    found, _, _ = BOOT.partition("from flareseg.reading.worker")
    return found + text


BOOT_BAD = with_main(BAD)


def named(ct_file: Path, name: str) -> Path:
    path = ct_file.with_name(f"{name}.nii.gz")
    path.write_bytes(ct_file.read_bytes())
    return path
