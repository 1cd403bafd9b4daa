"""How the cases of a run are called, so that no two are called the same: by the file, or by the folders around it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flareseg.errors import UsageError
from flareseg.io.files import CHANNEL, NAMELESS, case_name
from flareseg.text import shown, words

GENERIC = words(
    "ct ctscan scan image images imaging img volume vol data dicom dcm nifti nii nrrd input series original raw"
)
"""Names that say what a file is, not whose."""


@dataclass(frozen=True)
class Found:
    """One CT that was found, before it has a name.

    Attributes:
        source: the file or DICOM folder.
        folders: names of the folders around a file, or down to and with a DICOM folder, from the folder that was
            searched; of a file or folder named on the command line, all of them.
        named: whether the user named it, rather than a folder above it.
        alone: whether it is the only CT in its folder.
        root: names of the folders down to and with the one that was searched.
        series: UID of the DICOM series, where the folder holds others too.
        problem: why it cannot be read, where that is known already.
        is_file: whether it is called by its file, not by its folder.
    """

    source: Path
    folders: tuple[str, ...] = ()
    named: bool = False
    alone: bool = True
    root: tuple[str, ...] = ()
    series: str | None = None
    problem: str = ""
    is_file: bool = True

    def names(self) -> list[str]:
        """What it can be called, each more exact than the one before."""
        own = case_name(self.source) if self.is_file else (self.folders[-1] if self.folders else NAMELESS)
        around = self.folders if self.is_file else self.folders[:-1]
        choices = [around[-count:] for count in self._counts(len(around))]
        choices += [(*self.root[-count:], *around) for count in range(1, len(self.root) + 1)]
        # A folder's name says enough where it holds one CT.
        longer = [_joined(*folders) for folders in choices if self.is_file and self.alone and around]
        longer += [_joined(*folders, own) for folders in choices]
        if self.is_file:
            whole = self.source.name.lstrip(".").replace(".", "_")
            longer += [whole] if self.named or not around else []
            longer += [_joined(*folders, whole) for folders in choices]
            longer.append("__".join((*around, whole)))
        generic = own.lower().removesuffix(CHANNEL) in GENERIC
        # The folder's name is taken at once, so that a case keeps its name when others come to the folder.
        return longer if generic and around and not self.named else [own, *longer]

    def _counts(self, most: int) -> Sequence[int]:
        """How many of the folders a name is made of: of a searched folder always all, so that names are alike."""
        return range(1, most + 1) if self.named else ([most] if most else [])


def name_all(found: Sequence[Found]) -> list[str]:
    """A name for each, all different. CTs with the same first name get more exact ones together, until they differ.

    Raises:
        UsageError: when a CT is named twice, or no name tells two apart.
    """
    _refuse_twice(found)
    choices = [one.names() for one in found]
    level: Counter[str] = Counter()
    while True:
        names = [choice[min(level[choice[0]], len(choice) - 1)] for choice in choices]
        count = Counter(names)
        groups = {
            choice[0]
            for name, choice in zip(names, choices, strict=True)
            if count[name] > 1 and level[choice[0]] < len(choice) - 1
        }
        if not groups:
            break
        level.update(groups)
    for name, times in count.items():
        if times > 1:
            first, second = [one.source for one, other in zip(found, names, strict=True) if other == name][:2]
            raise UsageError(
                f"Two inputs are both called '{shown(name)}': {shown(first)} and {shown(second)}; rename one."
            )
    return names


def _refuse_twice(found: Sequence[Found]) -> None:
    seen: dict[Hashable, Path] = {}
    for one in found:
        folder = os.path.realpath(one.source.parent if one.is_file else one.source)
        key = (folder, one.source.name if one.is_file else "", one.series)
        if key in seen:
            raise UsageError(
                f"'{shown(one.source)}' is named twice by the inputs"
                + ("" if seen[key] == one.source else f" (also as '{shown(seen[key])}')")
                + "; name it once."
            )
        seen[key] = one.source


def _joined(*parts: str) -> str:
    return "_".join(part for part in parts if part)
