"""Our own Python processes: how they are started, how they talk through their standard streams, and how they end.

What is said are objects of our own, pickled, each with its length before it. Both ends are flareseg, started by the
same command; nothing else can write into these pipes.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG = 1
END_WITHIN_S = 2.0
"""After it was killed."""
_LENGTH = struct.Struct("<Q")


def python_executable() -> str | None:
    """A Python that runs as this process does; None where there is none.

    Within a program that only embeds Python, such as Slicer, `sys.executable` may be that program.
    """
    if sys.executable and not getattr(sys, "frozen", False):
        if re.match(r"(python|pypy)", Path(sys.executable).name, re.IGNORECASE):
            return sys.executable
        return shutil.which("PythonSlicer")
    return None


def send(stream: IO[bytes], message: Any) -> None:
    """Raises OSError when the other side has gone."""
    data = pickle.dumps(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message; None at the end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return pickle.loads(data) if len(data) == length else None


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it; raises nothing."""
    with suppress(OSError):
        process.kill()
    # One that waits for a disk which does not answer cannot be ended by anybody; it is not waited for.
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_WITHIN_S)


def own_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output for ourselves alone: what libraries print goes where errors go."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return requests, answers


def end_with_parent(badness: int) -> None:
    """Linux kills us when the thread that started us ends, even in the middle of a library's work; elsewhere our input
    ends then. If memory runs out, it kills the process with the highest `badness` first (0 to 1000)."""
    if sys.platform != "linux":
        return
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(badness))
