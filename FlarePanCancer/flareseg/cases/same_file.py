"""Where paths lead: whether two of them are one file, and whether one lies in the folder of another.

Paths are compared by what the disk says (device and number of a file), so that links, "..", and disks that take A and a
for the same letter make no difference. Of what does not exist yet, the nearest folder that does is compared.
"""

# os.path answers also about names for which pathlib raises errors, such as too long ones.
# ruff: noqa: PTH100, PTH116, PTH118, PTH120, PTH121

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Hashable, Iterator
from pathlib import Path

Place = tuple[Hashable, ...]


class Places:
    """Answers for many paths; what the disk said is remembered, so that one is made for each run."""

    def __init__(self) -> None:
        self._numbers: dict[str, Hashable | None] = {}
        self._folds: dict[str, bool] = {}

    def content(self, path: Path | str) -> Place | None:
        """Which file or folder is at `path`, links followed, whatever it is called; None where there is none."""
        number = self._number(os.path.abspath(path))
        return None if number is None else (number,)

    def of(self, path: Path | str) -> Place:
        """Where `path` is, the same for all ways to write it, whether or not something is there.

        The folders are followed if they are links, the last part of the path is not.
        """
        folder, name = os.path.split(os.path.abspath(path))
        return self._place(os.path.realpath(folder), [name] if name else [])

    def target(self, path: Path | str) -> Place:
        """As `of`, but a link is followed, also one to what is not there."""
        return self._place(*_split(os.path.realpath(path)))

    def above(self, path: Path | str) -> Iterator[Place]:
        """Every folder above `path`, and above what it links to, as `content` gives it; none of those to be made."""
        folders = [os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.dirname(os.path.realpath(path))]
        for folder in dict.fromkeys(folders):
            while True:
                if content := self.content(folder):
                    yield content
                if (higher := os.path.dirname(folder)) == folder:
                    break
                folder = higher

    def _place(self, folder: str, rest: list[str]) -> Place:
        while (number := self._number(folder)) is None:
            higher, name = os.path.split(folder)
            if higher == folder:
                break
            folder, rest = higher, [name, *rest]
        return (number, *(self._folded(folder, name) for name in rest))

    def _number(self, path: str) -> Hashable | None:
        if path not in self._numbers:
            try:
                about = os.stat(path)
                # Some file systems of Windows have no numbers.
                number = (about.st_dev, about.st_ino) if about.st_ino else os.path.normcase(os.path.realpath(path))
                self._numbers[path] = number
            except (OSError, ValueError):
                self._numbers[path] = None
        return self._numbers[path]

    def _folded(self, folder: str, name: str) -> str:
        if folder not in self._folds:
            self._folds[folder] = folds_case(folder)
        return unicodedata.normalize("NFC", name).casefold() if self._folds[folder] else name


def folds_case(folder: str) -> bool:
    """Whether the disk takes "A" and "a" in this folder for the same name. Nothing is written."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(64), strict=False)]
    except OSError:
        names = []
    for one in (*(os.path.join(folder, name) for name in names), folder):
        place, name = os.path.split(one)
        if name.swapcase() == name or len(name.swapcase()) != len(name):
            continue
        other = os.path.join(place, name.swapcase())
        try:
            return os.path.samefile(one, other) and name.swapcase() not in names
        except OSError:
            return False
    return sys.platform in ("win32", "darwin")


def _split(path: str) -> tuple[str, list[str]]:
    folder, name = os.path.split(path)
    return folder, [name] if name else []
