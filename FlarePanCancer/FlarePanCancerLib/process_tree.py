"""A program and everything that it starts: begun together, ended together, on every system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any


class ProcessTree:
    """A program of its own process group (on Windows: of a job of its own), which its children share.

    On Windows the whole job also ends with the process that made this object.

    Args:
        command: the program and its arguments.
        environment: its variables.

    Raises:
        OSError: when it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        own_group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=dict(environment),
            **own_group,
        )
        self._job = _WindowsJob(self._process) if sys.platform == "win32" else None
        self._ended = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status of the program itself; None before its end."""
        return self._process.poll()

    @property
    def output(self) -> IO[bytes]:
        assert self._process.stdout
        return self._process.stdout

    @property
    def errors(self) -> IO[bytes]:
        assert self._process.stderr
        return self._process.stderr

    def wait(self, seconds: float) -> None:
        """Until the program itself has ended, or for so long."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def ask_to_end(self) -> bool:
        """SIGTERM for all of it; returns whether it was asked: Windows has nothing of the kind."""
        if sys.platform == "win32":
            return False
        if self.status is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGTERM)
        return True

    def kill(self) -> None:
        """End all of it. Once that has been done after the program's own end, there is nothing left to end: later its
        number may be another program's."""
        if self._ended:
            return
        self._ended = self.status is not None
        others = _descendants(self.pid) if not self._ended else []
        if sys.platform == "win32":
            if self._job is None or not self._job.end():
                command = ["taskkill", "/F", "/T", "/PID", str(self.pid)]
                subprocess.run(command, capture_output=True, check=False, creationflags=subprocess.CREATE_NO_WINDOW)
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # it leads a group of its own
        for other in others:  # those that have left the group
            with suppress(Exception):
                other.kill()


def _descendants(pid: int) -> list[Any]:
    """What a process has started, as psutil finds it; [] where there is no psutil."""
    try:
        import psutil
    except ImportError:
        return []
    with suppress(psutil.Error):
        return list(psutil.Process(pid).children(recursive=True))
    return []


class _WindowsJob:
    """Windows' own set of processes: children belong to it from their start, and all end with it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._handle: Any = None
        self._kernel: Any = None
        if sys.platform == "win32":
            import ctypes
            from ctypes import wintypes

            class Basic(ctypes.Structure):
                _fields_ = (
                    ("PerProcessUserTimeLimit", ctypes.c_int64),
                    ("PerJobUserTimeLimit", ctypes.c_int64),
                    ("LimitFlags", wintypes.DWORD),
                    ("MinimumWorkingSetSize", ctypes.c_size_t),
                    ("MaximumWorkingSetSize", ctypes.c_size_t),
                    ("ActiveProcessLimit", wintypes.DWORD),
                    ("Affinity", ctypes.c_size_t),
                    ("PriorityClass", wintypes.DWORD),
                    ("SchedulingClass", wintypes.DWORD),
                )

            class Extended(ctypes.Structure):
                _fields_ = (
                    ("BasicLimitInformation", Basic),
                    ("IoInfo", ctypes.c_uint64 * 6),
                    ("ProcessMemoryLimit", ctypes.c_size_t),
                    ("JobMemoryLimit", ctypes.c_size_t),
                    ("PeakProcessMemoryUsed", ctypes.c_size_t),
                    ("PeakJobMemoryUsed", ctypes.c_size_t),
                )

            extended_limit_information, kill_on_job_close = 9, 0x2000
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            self._kernel.CreateJobObjectW.restype = wintypes.HANDLE
            handle = wintypes.HANDLE(self._kernel.CreateJobObjectW(None, None))
            limits = Extended()
            limits.BasicLimitInformation.LimitFlags = kill_on_job_close
            size = ctypes.sizeof(limits)
            set_up = self._kernel.SetInformationJobObject(
                handle, extended_limit_information, ctypes.byref(limits), size
            )
            # Popen keeps the handle that it was given; there is no other way to it.
            of_process = wintypes.HANDLE(int(process._handle))
            if set_up and self._kernel.AssignProcessToJobObject(handle, of_process):
                self._handle = handle

    def end(self) -> bool:
        """End every process of it; whether that was possible."""
        return self._handle is not None and bool(self._kernel.TerminateJobObject(self._handle, 1))
