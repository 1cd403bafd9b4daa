"""A small tree of files as data, so that an input can be changed before it is written."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path


@dataclass(frozen=True)
class Special:
    """What is no plain file: a "fifo", "socket", "folder", a "link" to `target`, or a "hole".

    Attributes:
        kind: one of these.
        target: of a link.
        size: of a file that is a hole behind its `start`.
    """

    kind: str
    target: str = ""
    size: int = 0
    start: bytes = b""


Node = bytes | Special
"""One file's content, or what stands in its place."""


@dataclass
class Tree:
    """Files by their path within a folder, and the one that a reader is given ("" is the folder itself)."""

    files: dict[str, Node]
    main: str = ""
    changes: list[str] = field(default_factory=list)

    def copy(self) -> Tree:
        return Tree(dict(self.files), self.main, list(self.changes))

    def plain(self) -> list[str]:
        """The paths of plain files, in a fixed order."""
        return sorted(path for path, node in self.files.items() if isinstance(node, bytes))

    def bytes_of(self, path: str) -> bytes:
        node = self.files[path]
        return node if isinstance(node, bytes) else b""

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)
        if self.main == old:
            self.main = new

    def write(self, folder: Path) -> Path:
        """Write all files; returns the path that a reader is given.

        What the file system does not take (a name that is too long, a file below a file) is left out.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with deep_recursion():
            for path, node in self.files.items():
                try:
                    target = folder / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _write(target, node)
                except (OSError, ValueError):
                    continue
        return folder / self.main if self.main else folder


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Python's own functions on folders call themselves once a level; what is tested has the usual limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def remove(folder: Path) -> None:
    """Delete a folder of any depth."""
    with deep_recursion():
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, node: Node) -> None:
    if isinstance(node, bytes):
        path.write_bytes(node)
    elif node.kind == "folder":
        path.mkdir(exist_ok=True)
    elif node.kind == "link":
        path.symlink_to(node.target)
    elif node.kind == "fifo":
        os.mkfifo(path)
    elif node.kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        with path.open("wb") as file:
            file.write(node.start)
            file.truncate(max(node.size, len(node.start)))


def zipped(files: Mapping[str, Node], packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of the plain files, always the same bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as archive:
        for path, node in sorted(files.items()):
            if isinstance(node, bytes):
                archive.writestr(zipfile.ZipInfo(path), node, packed)
    return buffer.getvalue()
