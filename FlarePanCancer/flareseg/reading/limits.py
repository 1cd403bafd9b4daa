"""How much memory and time the reading of one input may take, by its size and by what the machine has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MOST_FILES = 200_000
MIB, GIB = 2**20, 2**30
GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Limits:
    """Of one input: a constant, and a part that grows with the bytes on the disk.

    Attributes:
        base_s, s_per_mib: seconds. A network drive at its worst delivers a megabyte a second.
        base_bytes, bytes_per_byte: memory beyond what the process has at rest. CTs are compressed to a half or a
            third; empty ones shrink to a hundredth, and are small.
        share_of_free: of the machine's free memory, at most this part is given.
    """

    base_s: float = 120.0
    s_per_mib: float = 1.0
    base_bytes: int = 4 * GIB
    bytes_per_byte: int = 64
    share_of_free: float = 0.9

    def seconds(self, size: int) -> float:
        return self.base_s + self.s_per_mib * size / MIB

    def memory(self, size: int) -> int:
        """Bytes, for an input of `size` bytes, on this machine as it is now."""
        return int(min(self.base_bytes + self.bytes_per_byte * size, self.share_of_free * free_memory()))


def free_memory() -> int:
    """Bytes that can be had without swapping: of the machine, or of the container or the batch system's job where that
    has less."""
    free = int(psutil.virtual_memory().available)
    return min([free, *(_free_in(group) for group in _control_groups())])


def _control_groups() -> Iterator[Path]:
    """The control groups (version 2) of this process that bound its memory, from its own to that of the container."""
    group = GROUPS
    with suppress(OSError, StopIteration):
        lines = OWN_GROUP.read_text().splitlines()
        group /= next(line for line in lines if line.startswith("0::")).removeprefix("0::").lstrip("/")
    while group != GROUPS and GROUPS in group.parents:
        yield group
        group = group.parent
    yield GROUPS


def _free_in(group: Path) -> int:
    with suppress(OSError, ValueError):
        allowed = (group / "memory.max").read_text().strip()
        if allowed != "max":
            used = int((group / "memory.current").read_text())
            stats = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            return max(int(allowed) - used + int(stats.get("inactive_file", 0)), 0)
    return sys.maxsize


def input_bytes(path: Path) -> int:
    """The size of an input on the disk: of a file with what lies beside it where its header may name other files, of a
    folder, or of the one that a DICOMDIR lists, with all below it."""
    if path.is_dir():
        return _below(path)
    if not path.suffix:
        from flareseg.io.dicom import is_dicomdir

        if is_dicomdir(path):
            return _below(path.parent)
    if path.suffix.lower() in (".nhdr", ".mhd", ".hdr"):
        return sum(entry.stat().st_size for entry in _entries(path.parent) if entry.is_file())
    return path.stat().st_size


def _below(folder: Path) -> int:
    total, count = 0, 0
    waiting, seen = [folder], set()
    while waiting and count < MOST_FILES:
        for entry in _entries(waiting.pop()):
            count += 1
            with suppress(OSError):
                facts = entry.stat()
                if entry.is_file():
                    total += facts.st_size
                elif entry.is_dir() and (facts.st_dev, facts.st_ino) not in seen:  # links may lead in circles
                    seen.add((facts.st_dev, facts.st_ino))
                    waiting.append(Path(entry.path))
    return total


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
