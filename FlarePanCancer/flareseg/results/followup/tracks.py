"""Every lesion through all scans: where it was, is, or would be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flareseg.labels import Structure
from flareseg.results.columns import DECIMALS
from flareseg.results.followup.alignment import Alignment
from flareseg.results.followup.pairing import Candidate, pair
from flareseg.results.followup.registration import Registration
from flareseg.results.followup.shapes import Points, in_view
from flareseg.results.followup.timepoint import Timepoint, middle
from flareseg.results.lesions import Lesion
from flareseg.volume import Triple

DOUBTFUL_MM = 3.0
"""Partners that are further apart, with their organs laid upon each other, may be two lesions."""
LEAST_IN_VIEW = 0.5

Registered = Callable[[int, int], Registration]
"""Gives the registration of an earlier scan with a later one, by their numbers."""


@dataclass(frozen=True)
class Sighting:
    """A lesion in one scan.

    Attributes:
        lesions: none where it was not found, several where it split.
        in_view: whether the scan shows its place.
        place_xyz_mm: where it lies, or would lie.
        apart_mm: by how much it misses the place of the lesion before, 0 where they overlap well.
    """

    lesions: tuple[Lesion, ...]
    in_view: bool
    place_xyz_mm: Triple
    apart_mm: float = 0.0

    @property
    def longest_mm(self) -> float:
        """The longest diameter; of the parts of a lesion that split, their sum, as RECIST 1.1 has it."""
        return sum(longest_of(lesion) for lesion in self.lesions)

    @property
    def voxels(self) -> int:
        return sum(lesion.voxels for lesion in self.lesions)

    @property
    def cut(self) -> bool:
        """Whether the edge of the scan may have cut it off."""
        return any(lesion.touches_border for lesion in self.lesions)

    @property
    def doubtful(self) -> bool:
        return self.apart_mm > DOUBTFUL_MM


@dataclass(frozen=True)
class Track:
    """One lesion through all scans.

    Attributes:
        number: from 1; those of the first scan by size, then those that are new.
        first: the scan in which it was found first, from 0.
        host: the organ in which it lay then.
        sightings: one for each scan.
    """

    number: int
    first: int
    host: Structure | None
    sightings: tuple[Sighting, ...]

    def merged_with(self, others: Sequence[Track], time: int) -> tuple[int, ...]:
        """Numbers of the tracks that have a lesion of this scan in common with it."""
        own = {lesion.number for lesion in self.sightings[time].lesions}
        return tuple(
            other.number
            for other in others
            if other.number != self.number and own & {lesion.number for lesion in other.sightings[time].lesions}
        )


def longest_of(lesion: Lesion) -> float:
    """Its longest diameter, rounded as tables have it, so that their sums come out."""
    return round(lesion.longest.mm, DECIMALS["longest_mm"])


def follow(times: Sequence[Timepoint], registered: Registered) -> list[Track]:
    """Follow every lesion from the scan in which it was last found to the next one.

    Args:
        times: in the order of their dates.
        registered: lays an earlier scan upon a later one.
    """
    paths = [_Path(0, {0: (lesion,)}) for lesion in times[0].lesions]
    for time in range(1, len(times)):
        sources = _sources(paths, times)
        later = times[time].lesions
        links = pair(
            [source.candidate for source in sources],
            [registered(source.time, time).of(source.lesion.host) for source in sources],
            [_candidate(times[time], lesion) for lesion in later],
        )
        for number, path in enumerate(paths):
            own = [link for link in links if number in sources[link.earlier].paths]
            if own:
                path.lesions[time] = tuple(later[index] for index in sorted({link.later for link in own}))
                path.apart_mm[time] = max(link.apart_mm for link in own)
        known = {link.later for link in links}
        paths += [_Path(time, {time: (lesion,)}) for index, lesion in enumerate(later) if index not in known]
    return [_track(number, path, times, registered) for number, path in enumerate(paths, 1)]


class _Path:
    """What is known of a lesion so far: in which scans it was found."""

    def __init__(self, first: int, lesions: dict[int, tuple[Lesion, ...]]) -> None:
        self.first, self.lesions = first, lesions
        self.apart_mm: dict[int, float] = {}


@dataclass(frozen=True)
class _Source:
    """A lesion where it was last found, and the paths that have it: several where they merged."""

    time: int
    lesion: Lesion
    candidate: Candidate
    paths: frozenset[int]


def _sources(paths: Sequence[_Path], times: Sequence[Timepoint]) -> list[_Source]:
    found: dict[tuple[int, int], set[int]] = {}
    for number, path in enumerate(paths):
        last = max(path.lesions)
        for lesion in path.lesions[last]:
            found.setdefault((last, lesion.number), set()).add(number)
    sources = []
    for (time, number), owners in found.items():
        lesion = times[time].lesions[number - 1]
        sources.append(_Source(time, lesion, _candidate(times[time], lesion), frozenset(owners)))
    return sources


def _candidate(scan: Timepoint, lesion: Lesion) -> Candidate:
    return Candidate(scan.lesion(lesion), lesion.voxels * scan.grid.voxel_ml, lesion.host)


def _track(number: int, path: _Path, times: Sequence[Timepoint], registered: Registered) -> Track:
    sightings = []
    for time, scan in enumerate(times):
        lesions = path.lesions.get(time, ())
        if lesions:
            largest = max(lesions, key=lambda lesion: lesion.voxels)
            sightings.append(Sighting(lesions, True, _triple(middle(largest)), path.apart_mm.get(time, 0.0)))
            continue
        # Where it would be: by the scan before in which it was found, or else by the first one in which it is.
        known = max((other for other in path.lesions if other < time), default=path.first)
        lesion = path.lesions[known][0]
        there = _between(known, time, registered, lesion.host)
        points = there.of(times[known].lesion(lesion).inside)
        shown = float(in_view(points, scan.grid).mean()) >= LEAST_IN_VIEW
        sightings.append(Sighting((), shown, _triple(there.of(middle(lesion)[None])[0])))
    return Track(number, path.first, path.lesions[path.first][0].host, tuple(sightings))


def _between(known: int, time: int, registered: Registered, host: Structure | None) -> Alignment:
    if known < time:
        return registered(known, time).of(host)
    return registered(time, known).of(host).inverse()


def _triple(place: Points) -> Triple:
    x, y, z = np.round(place, 2)
    return float(x), float(y), float(z)
