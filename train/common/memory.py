"""Memory allocation in long computations on the CPU."""

from __future__ import annotations

import ctypes
import sys


def keep_memory() -> None:
    """Let the C library keep freed memory for reuse instead of returning it; for what computes on the CPU.

    Every step frees and allocates the same gigabytes of feature maps. With glibc's defaults, the kernel maps and clears
    the pages again each time, which makes a training step on the CPU up to twice as slow.
    """
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
        except OSError:  # another C library
            return
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 2**28)
