"""Lines that a child process writes into a pipe, read without waiting and without a thread.

In Slicer a thread of Python's gets on only while Python runs on the main thread: its event loop keeps Python's lock.
Whoever reads in a thread therefore waits for the window after every read. Here the main thread takes what is there.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import IO

BYTES_AT_ONCE, LINES_AT_ONCE, PIECE = 2**19, 500, 2**16
"""So much is taken in one call; a flood waits in the pipe, and slows down whoever writes it."""


class PipeLines:
    """The lines of one pipe.

    Args:
        pipe: the end that is read; from now on nobody else reads it.
        longest: bytes of a line; the rest of a longer one is left out.
    """

    def __init__(self, pipe: IO[bytes], longest: int) -> None:
        self._pipe, self._longest = pipe, longest
        self._ready: deque[bytes] = deque()
        self._part = bytearray()
        self._silent = False
        self.bytes = 0
        """Read so far."""
        self.ended = False
        """Nobody can write to it any more, and all is read."""
        if sys.platform != "win32":
            os.set_blocking(pipe.fileno(), False)

    @property
    def is_empty(self) -> bool:
        """Whether the last look found nothing, and nothing is left to take."""
        return not self._ready and (self.ended or self._silent)

    def take(self) -> list[bytes]:
        """What is there, but not more than `LINES_AT_ONCE`; each line without its end. Never waits."""
        budget = BYTES_AT_ONCE
        while budget > 0 and len(self._ready) < LINES_AT_ONCE and not self.ended:
            piece = _read(self._pipe.fileno(), PIECE)
            self._silent = piece is None
            if piece is None:
                break
            budget -= len(piece)
            self.bytes += len(piece)
            self._add(piece)
        return [self._ready.popleft() for _ in range(min(LINES_AT_ONCE, len(self._ready)))]

    def close(self) -> None:
        """Listen no more; whoever still writes is told by the system."""
        self.ended = True
        self._pipe.close()

    def _add(self, piece: bytes) -> None:
        if not piece:
            self.ended = True
            if self._part:
                self._finish()
            return
        *whole, rest = piece.split(b"\n")
        for end in whole:
            self._extend(end)
            self._finish()
        self._extend(rest)

    def _extend(self, piece: bytes) -> None:
        self._part += piece[: self._longest - len(self._part)]

    def _finish(self) -> None:
        self._ready.append(bytes(self._part))
        self._part = bytearray()


def _read(number: int, most: int) -> bytes | None:
    """What is there, b"" at the end of the pipe, None where nothing is there yet."""
    if sys.platform == "win32":
        there = _waiting(number)
        if not there:
            return None if there == 0 else b""
        most = min(most, there)
    try:
        return os.read(number, most)
    except BlockingIOError:
        return None
    except OSError:  # on Windows of a pipe whose writer has gone
        return b""


def _waiting(number: int) -> int | None:
    """How many bytes wait in a pipe of Windows; None at its end."""
    if sys.platform != "win32":
        return None
    import ctypes
    import msvcrt
    from ctypes import wintypes

    count = wintypes.DWORD()
    handle = wintypes.HANDLE(msvcrt.get_osfhandle(number))
    found = ctypes.WinDLL("kernel32").PeekNamedPipe(handle, None, 0, None, ctypes.byref(count), None)
    return count.value if found else None
