"""An array handed from one process to another in memory that both see, which is gone when neither holds it any more.

On POSIX that is a file without a name, whose descriptor goes through a socket; on Windows a named mapping of the page
file. Neither leaves anything behind when either process is killed.
"""

from __future__ import annotations

import mmap
import os
import secrets
import socket
import sys
import tempfile
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

TAKE_WITHIN_S = 10.0


@dataclass(frozen=True)
class Handle:
    """What the receiver must know of an array.

    Attributes:
        shape, dtype: of the array.
        name: of the mapping, on Windows.
        data: the array itself, where no memory could be shared.
    """

    shape: tuple[int, ...]
    dtype: str
    name: str = ""
    data: bytes | None = field(default=None, repr=False)


class Sender:
    """Gives arrays away.

    Args:
        link: socket to the receiver; None on Windows.
    """

    def __init__(self, link: socket.socket | None) -> None:
        self._link = link
        self._kept: mmap.mmap | None = None

    def put(self, array: NDArray[Any]) -> Handle:
        """Copy `array` into shared memory; the receiver takes it by the handle."""
        data = np.ascontiguousarray(array)
        flat = data.reshape(-1).view(np.uint8).data
        handle = Handle(data.shape, data.dtype.str)
        try:
            return replace(handle, name=self._share(flat))
        except OSError:  # e.g. a limit on the size of files, which counts for files without a name too
            return replace(handle, data=bytes(flat))

    def _share(self, flat: memoryview) -> str:
        """The mapping's name, where it has one."""
        if self._link is None:
            name = f"flareseg-{secrets.token_hex(16)}"
            # Kept until the next array, because a mapping that nobody holds is gone.
            self._kept = _mapping(len(flat), name)
            self._kept.write(flat)
            return name
        descriptor = _nameless_file()
        try:
            # Written rather than mapped: where there is no room, writing fails with an error, a mapping with a crash.
            done = 0
            while done < len(flat):
                done += os.write(descriptor, flat[done : done + 2**30])
            socket.send_fds(self._link, [b"a"], [descriptor])
        finally:
            os.close(descriptor)
        return ""


def take(handle: Handle, link: socket.socket | None) -> NDArray[Any]:
    """The array that the other side has put; its memory is freed with it.

    Raises:
        OSError: when it is not there.
    """
    dtype = np.dtype(handle.dtype)
    if handle.data is not None:
        return np.frombuffer(bytearray(handle.data), dtype).reshape(handle.shape)
    size = int(np.prod(handle.shape, dtype=np.int64)) * dtype.itemsize
    if link is None:
        memory = _mapping(size, handle.name)
    else:
        link.settimeout(TAKE_WITHIN_S)
        _, descriptors, _, _ = socket.recv_fds(link, 1, 1)
        if not descriptors:
            raise OSError("the shared memory did not arrive")
        try:
            memory = mmap.mmap(descriptors[0], size)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
    return np.frombuffer(memory, dtype).reshape(handle.shape)


def _mapping(size: int, name: str) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size, tagname=name)
    raise OSError("named mappings are Windows' own")


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("flareseg")
        except OSError:  # forbidden, as in some sandboxes
            pass
    with tempfile.TemporaryFile(prefix="flareseg-") as file:
        return os.dup(file.fileno())
