"""DICOM series that are spread over folders side by side: half a series each is no case."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

Instances = dict[str, set[str]]
"""Of each image series, by its UID, the UIDs of its images."""


@dataclass(frozen=True)
class Group:
    """Folders side by side that are one case.

    Attributes:
        folders: which; one, unless they share a series.
        series: the UID of the one series that they share; None where they share several, or are one folder.
    """

    folders: tuple[Path, ...]
    series: str | None = None


def group_by_series(folders: Sequence[Path]) -> list[Group]:
    """`folders` in order, those together that each hold a part of the same series.

    Copies of one series are no parts of it: they stay cases of their own.
    """
    held = _held_in_several(folders)
    holders: dict[str, list[Path]] = defaultdict(list)
    for folder, instances in held.items():
        for uid in instances:
            holders[uid].append(folder)
    leader = {folder: folder for folder in folders}
    shared: dict[Path, set[str]] = defaultdict(set)

    def first_of(folder: Path) -> Path:
        while leader[folder] != folder:
            folder = leader[folder]
        return folder

    for uid, together in holders.items():
        for one, other in pairwise(together):
            if not _are_copies(held[one][uid], held[other][uid]):
                shared[one].add(uid)
                leader[first_of(other)] = first_of(one)
    groups: dict[Path, list[Path]] = defaultdict(list)
    for folder in folders:
        groups[first_of(folder)].append(folder)
    result = []
    for members in groups.values():
        uids = set[str]().union(*(shared[member] for member in members))
        result.append(Group(tuple(members), next(iter(uids)) if len(uids) == 1 else None))
    return result


def _held_in_several(folders: Sequence[Path]) -> dict[Path, Instances]:
    """The images in those of `folders` that share a series with another one.

    A few headers of each tell which these are: reading all would take minutes for a data set of thousands of cases.
    """
    from flareseg.io.dicom import series_of_folders

    if len(folders) < 2:
        return {}
    series = series_of_folders(folders)
    count = Counter(uid for uids in series.values() for uid in uids)
    return {folder: instances_in(folder) for folder, uids in series.items() if any(count[uid] > 1 for uid in uids)}


def instances_in(folder: Path) -> Instances:
    """The image series in `folder` and below it; series without a UID and what cannot be read are passed over."""
    from flareseg.io.dicom import read_header

    result: Instances = defaultdict(set)
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # links that lead in a circle
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            file = Path(place, name)
            if name.startswith(".") or not file.is_file():
                continue
            header = read_header(file)
            if header is None or "Rows" not in header:
                continue
            uid = str(header.get("SeriesInstanceUID") or "").strip()
            if uid:
                result[uid].add(str(header.get("SOPInstanceUID") or file))
    return dict(result)


def _are_copies(one: set[str], other: set[str]) -> bool:
    """Whether most images of the smaller part are in the larger one too."""
    return 2 * len(one & other) > min(len(one), len(other))
