"""The start time of a process, which distinguishes two processes that had the same number one after the other.

Asked of the system itself, not through psutil: that is not in every Python that we run in, and the answers of one have
to be those of the other. Its times are also computed from a clock that may be set in between.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

UNKNOWN = 0
"""Of a running process whose start time the system does not reveal."""


def process_began(pid: int) -> int | None:
    """A number that no other process with this `pid` has; None when there is no such process, else perhaps `UNKNOWN`.

    A process that has ended and only waits for its parent to notice counts as none.
    """
    if pid <= 0:
        return None
    if sys.platform == "linux":
        return _from_proc(pid)
    if sys.platform == "win32":
        return _from_windows(pid)
    return _from_ps(pid)


def _from_proc(pid: int) -> int | None:
    """Ticks from the start of the system to the start of the process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        # Where /proc hides what others run, it hides it as if it were not there.
        return UNKNOWN if _answers(pid) else None
    except OSError:
        return UNKNOWN
    # The name, in brackets, may hold anything, brackets too.
    fields = text.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it is there, and another user's
    return True


def _from_ps(pid: int) -> int | None:
    """A checksum of the date and time that `ps` prints."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=5, env={**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN if _answers(pid) else None
    state, _, began = done.stdout.strip().partition(b" ")
    if not began or state.startswith(b"Z"):
        return UNKNOWN if not began and _answers(pid) else None
    return zlib.crc32(began.strip())


def _from_windows(pid: int) -> int | None:
    """Its time of creation, in Windows' units of 100 ns."""
    if sys.platform != "win32":  # which tells mypy where it is
        return UNKNOWN
    import ctypes
    from ctypes import wintypes

    query_limited_information, invalid_parameter, still_active = 0x1000, 87, 259
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = wintypes.HANDLE
    handle = kernel.OpenProcess(query_limited_information, False, wintypes.DWORD(pid))
    if not handle:
        return None if ctypes.get_last_error() == invalid_parameter else UNKNOWN
    try:
        status = wintypes.DWORD()
        created, ended, system, user = (wintypes.FILETIME() for _ in range(4))
        handle = wintypes.HANDLE(handle)
        pointers = [ctypes.byref(time) for time in (created, ended, system, user)]
        if not kernel.GetExitCodeProcess(handle, ctypes.byref(status)) or not kernel.GetProcessTimes(handle, *pointers):
            return UNKNOWN
        return created.dwHighDateTime << 32 | created.dwLowDateTime if status.value == still_active else None
    finally:
        kernel.CloseHandle(handle)
