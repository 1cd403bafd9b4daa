"""Standard output and error, whatever state the caller left them in: closed, full, or without half the alphabet."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from flareseg.text import visible  # here: a command that ends in the middle of an import can begin no other

TYPE_CHECKING = False  # this comes before Ctrl+C is ours, so that typing is not loaded
if TYPE_CHECKING:
    from typing import TextIO


class OutputGone(Exception):
    """Standard output cannot be written.

    Attributes:
        reader_left: nobody reads it any more, as after `| head`, which is no failure of ours.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"Standard output cannot be written: {error.strerror or error}.")
        # Windows says EINVAL (22) of a pipe whose reader has gone.
        self.reader_left = isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == 22)


def print_text(text: str, stream: TextIO | None) -> None:
    """Print lines and flush; characters that the stream's encoding lacks become escapes instead of an error.

    Raises:
        OutputGone: when the stream cannot be written.
    """
    if stream is None:  # closed by whoever started us
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError as error:
        raise OutputGone(error) from None


def print_line(text: str, stream: TextIO | None) -> None:
    """Print one line, as `print_text`; line breaks and control characters become escapes."""
    print_text(visible(text), stream)


def tell(text: str) -> None:
    """Print a line to standard error. Where that fails there is nobody left to tell."""
    with suppress(OutputGone, ValueError):
        print_line(text, sys.stderr)


def open_missing() -> None:
    """Give a process whose standard streams are closed (`2>&-`) empty ones.

    Otherwise the next file that is opened would take the number of the missing stream, and whatever a library prints
    would go into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush_output(status: int) -> int:
    """At the end of the process: the exit status, which is 1 instead of 0 where the output could not be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        gone = OutputGone(error) if isinstance(error, OSError) else None
        if gone and not gone.reader_left:
            status = status or 1
            tell(f"flareseg: {gone}")
        # What could not be written stays in the stream; Python would try again, and complain, as it ends.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
