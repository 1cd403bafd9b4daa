"""The reading process as its owner sees it: started, asked, watched, ended."""

from __future__ import annotations

import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import psutil

from flareseg.reading.messages import Began, Message, Ready, Request
from flareseg.system.children import END_WITHIN_S, kill, python_executable, receive, send

BOOT = """
import sys
sys.path[:] = sys.argv[2:]
from flareseg.reading.worker import main
main(int(sys.argv[1]))
"""
START_WITHIN_S = 120.0
"""From nothing to the first sign of life; a virus scanner may look into every file of it."""
WATCH_EVERY_S = 0.2


class ReadingProcess:
    """One process, for as long as it lives. `killed_for` tells why it was killed: "", "time" or "memory".

    Args:
        boot: the Python text that it runs; tests pass their own.
        talkative: what it prints to standard error is shown.

    Raises:
        OSError: when no process can be started.
    """

    def __init__(self, boot: str = BOOT, *, talkative: bool = False) -> None:
        executable = python_executable()
        if executable is None:
            raise OSError("no Python to start")
        ours, theirs = socket.socketpair() if sys.platform != "win32" else (None, None)
        self.link = ours
        try:
            own: dict[str, Any] = {"pass_fds": (theirs.fileno(),)} if theirs else {}
            if sys.platform == "win32":
                own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
            self._process = subprocess.Popen(
                [
                    executable,
                    *("-X", f"utf8={sys.flags.utf8_mode}"),
                    *("-c", boot, str(theirs.fileno() if theirs else -1), *sys.path),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if talkative else subprocess.DEVNULL,
                **own,
            )
        except (OSError, ValueError) as error:
            if ours:
                ours.close()
            raise OSError(str(error)) from None
        finally:
            if theirs:
                theirs.close()
        self.answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.ready = False
        self.killed_for = ""
        self.limit: Began | None = None
        self._deadline = time.monotonic() + START_WITHIN_S
        self._busy = True
        self._ended = threading.Event()
        for work in (self._listen, self._watch):
            threading.Thread(target=work, daemon=True, name=f"flareseg reader {work.__name__}").start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    def ask(self, request: Request) -> None:
        """Begin to read; the answer comes into `answers`, where None says that the process has ended.

        Raises:
            OSError: when it is no longer there.
        """
        assert self._process.stdin
        self.limit = None
        self._deadline = time.monotonic() + START_WITHIN_S
        self._busy = True
        send(self._process.stdin, request)

    def kill(self) -> None:
        """End it. Nothing of it remains."""
        kill(self._process)
        self._ended.set()
        for stream in (self._process.stdin, self.link):
            if stream:
                with suppress(OSError):
                    stream.close()

    def how_it_ended(self) -> str:
        """In words, for the middle of a sentence."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_WITHIN_S)
        status = self._process.returncode
        if status is None:
            return "no answer"
        if status < 0:
            with suppress(ValueError):
                return signal.Signals(-status).name
        return f"status {status}"

    @property
    def killed_by_system(self) -> bool:
        """Whether somebody else has killed it, as Linux does where memory runs out."""
        return not self.killed_for and self.how_it_ended() == "SIGKILL"

    def _listen(self) -> None:
        assert self._process.stdout
        with suppress(OSError, EOFError), self._process.stdout as stream:
            while (message := receive(stream)) is not None:
                if isinstance(message, Ready):
                    self.ready = True
                elif isinstance(message, Began):
                    self.limit, self._deadline = message, time.monotonic() + message.seconds
                else:
                    self._busy = False
                    self.answers.put(message)
        self._ended.set()
        self.answers.put(None)

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_EVERY_S):
            if not self._busy:
                continue
            if time.monotonic() > self._deadline:
                self._kill_for("time")
            elif self.limit and self._memory() > self.limit.memory_bytes:
                self._kill_for("memory")

    def _kill_for(self, reason: str) -> None:
        self.killed_for = reason
        with suppress(OSError):
            self._process.kill()

    def _memory(self) -> int:
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0
