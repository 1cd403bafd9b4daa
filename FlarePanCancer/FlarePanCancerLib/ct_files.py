"""The CTs of a run on their way to the engine: written one after the other, a few at a time, and removed when done."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path

from FlarePanCancerLib.mrml_conversion import write_ct
from flareseg.volume import Volume

AHEAD = 3
"""So many CTs lie on the disk at once: the one that is computed, and those that are read or written meanwhile."""


class CtFiles:
    """Files of CTs, of which the engine gets a list, and waits for those that are not there yet.

    Args:
        volumes: the CTs, in memory that stays as it is until their files are written.
        folder: an empty one; it is the caller's to remove.
    """

    def __init__(self, volumes: Sequence[Volume], folder: Path) -> None:
        self._volumes: list[Volume | None] = list(volumes)
        self._folder = folder
        self._next = 0
        self._writing: Generator[None, None, None] | None = None
        self.list = folder / "cts.txt"
        """The engine's list of them."""

    def write_list(self) -> None:
        """Write `list`.

        Raises:
            OSError: when it cannot be written.
        """
        lines = [f"{self._path(number)}\n" for number in range(len(self._volumes))]
        self.list.write_text("".join(lines), encoding="utf-8")

    @property
    def current(self) -> int:
        """The number of the CT that is written, or comes next."""
        return self._next

    def write_on(self, done: int) -> None:
        """Write a part of the next CT, where the engine is done with so many that it may be there.

        Raises:
            OutputError: when CT `current` cannot be written; see `give_up`.
        """
        if self._next >= min(len(self._volumes), done + AHEAD):
            return
        if self._writing is None:
            volume = self._volumes[self._next]
            assert volume is not None
            self._writing = write_ct(volume, self._path(self._next))
        if next(self._writing, self) is self:
            self._leave()

    def give_up(self) -> None:
        """Go on with the next CT; an empty file keeps the engine from waiting for this one.

        Raises:
            OSError: when not even that can be written.
        """
        self._path(self._next).write_bytes(b"")
        self._leave()

    def remove(self, number: int) -> None:
        """The engine is done with a CT."""
        with suppress(OSError):
            self._path(number).unlink()

    def stop(self) -> None:
        """Write no more; the file that is being written goes."""
        self._next = len(self._volumes)
        self._volumes = []
        if self._writing is not None:
            self._writing.close()
        self._writing = None

    def _leave(self) -> None:
        self._volumes[self._next] = None  # its memory is the scene's again
        self._writing = None
        self._next += 1

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05}.nrrd"
