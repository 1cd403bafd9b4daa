"""Any exception as one line for the user: what happened, to what, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path

from flareseg.errors import FlareError
from flareseg.system.streams import OutputGone
from flareseg.text import shortened

LONGEST = 300
_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""CUDA's allocator has an error of its own; its libraries, Apple's GPUs, the CPU and OpenVINO raise a RuntimeError."""


def reported(error: BaseException, subject: Path | str | None = None) -> str:
    """One line that reports `error`.

    Args:
        error: of whatever kind.
        subject: the input being processed, if any.
    """
    if isinstance(error, FlareError | OutputGone):
        return str(error)
    what = f"'{shortened(str(subject), LONGEST)}'" if subject is not None else "This"
    if out_of_memory(error):
        return f"{what} needs more memory than this machine has free."
    if isinstance(error, RecursionError):
        return f"{what} is nested too deeply, in folders or in its header; move it up, or save it anew."
    if isinstance(error, OSError) and error.strerror:
        name = error.filename if error.filename is not None else subject
        about = f"'{shortened(str(name), LONGEST)}': " if name is not None else ""
        return f"{about}{error.strerror}."
    reason = shortened(next(iter(str(error).strip().splitlines()), ""), 160)
    kind = type(error).__name__
    return (
        f"{what} met an error that flareseg did not expect ({kind}{': ' if reason else ''}{reason.rstrip('.')}); "
        "`flareseg --debug` shows where."
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the computer or on a GPU."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, RuntimeError) and (torch := sys.modules.get("torch")):
        return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in str(error) for words in _OF_MEMORY)
    return isinstance(error, OSError) and error.errno == 12  # ENOMEM, on every system
