"""Separate the acquisitions of one series: phases, time points, body regions, bolus tracking images.

Header fields are tried first (acquisition number, temporal position, stack, acquisition times); if slices still
coincide, fields that may differ between two reconstructions, and then the order in which the slices were made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.io.dicom.runs import CLASH_SHARE, runs_of
from flareseg.io.dicom.slices import APART, Slice, depths_mm

SAME_PLACE_SHARE = 0.01
"""Slices nearer than this share of the usual distance are at the same place."""
LARGEST_STEP_MM = 20.0
"""No CT has slices farther apart."""
TINY_SHARE, GAP_SHARE = 0.1, 2.5
"""Of the usual distance, for a first look at which distances are usual."""
MOST_TIMES = 12
"""More acquisition times than this are those of single slices, not of acquisitions."""
FEWEST_OF_A_TIME = 3
MOST_VALUES = 20
MANY_GROUPS = 5
MANY_OF_ALL = 0.2


@dataclass(frozen=True, eq=False)
class Group:
    """Slices of one acquisition.

    Attributes:
        name: the header's number of the acquisition, time point or stack; "" where there is a single one.
        part: number of the part if only times or the order of the slices separate it; 0 otherwise.
        slices: by ascending depth.
        depths: in mm along the normal that all groups share.
    """

    name: str
    part: int
    slices: tuple[Slice, ...]
    depths: NDArray[np.float64]


def groups_of(slices: Sequence[Slice], series: Sequence[Slice]) -> list[Group]:
    """The groups in alike slices, in the order in which they were acquired.

    Args:
        slices: that make stacks with each other.
        series: all slices of the series, which say what its acquisitions differ in.
    """
    every = list(slices)
    depths = dict(zip(map(id, every), depths_mm(every), strict=True))

    def group(name: str, part: int, members: Sequence[Slice]) -> Group:
        ordered = sorted(members, key=lambda one: (depths[id(one)], one.order or (0, 0), one.name))
        return Group(name, part, tuple(ordered), np.array([depths[id(one)] for one in ordered]))

    found: list[Group] = []
    for name, members in _named(every, series):
        parts = _parts(members, np.array([depths[id(one)] for one in members]))
        found += [group(name, number if len(parts) > 1 else 0, part) for number, part in enumerate(parts, 1)]
    return found


def usual_step_mm(depths: NDArray[np.float64]) -> float:
    """The distance of neighbouring slices over most of the extent, also where acquisitions lie on each other."""
    steps = np.sort(np.diff(np.sort(depths)))
    near = steps[steps <= LARGEST_STEP_MM]
    steps = near if near.any() else steps
    if not steps.any():
        return 0.0
    # Where acquisitions lie on each other, tiny steps are as many as real ones, but cover little; gaps cover much, but
    # are few.
    half = _half_covered_by(steps)
    real = steps[steps > TINY_SHARE * half]
    return _half_covered_by(steps[steps <= GAP_SHARE * np.median(real)])


def _half_covered_by(steps: NDArray[np.float64]) -> float:
    """Half of the extent is covered by steps up to this one; they are sorted."""
    covered = np.cumsum(steps)
    return float(steps[np.searchsorted(covered, covered[-1] / 2)])


def clashes(depths: NDArray[np.float64]) -> bool:
    """Whether slices lie on each other, or nearer than those of one acquisition do."""
    steps = np.diff(np.sort(depths))
    step = usual_step_mm(depths)
    return step > 0 and bool((steps < CLASH_SHARE * step).any())


def are_rotations(groups: Sequence[Group]) -> bool:
    """Whether the numbers count rotations of one scan, each of a few slices, and no acquisitions."""
    sizes = np.array([len(group.slices) for group in groups])
    return len(groups) >= MANY_GROUPS and float((sizes**2).sum() / sizes.sum()) <= MANY_OF_ALL * sizes.sum()


def _named(slices: list[Slice], series: Sequence[Slice]) -> list[tuple[str, list[Slice]]]:
    """Slices by what the header calls their acquisition, time point and stack."""
    keys = [("acquisition", ""), ("temporal", "t"), ("stack", "s")]
    several = [(key, mark) for key, mark in keys if len({getattr(one, key) for one in series}) > 1]
    found: dict[tuple[str, ...], list[Slice]] = defaultdict(list)
    for one in slices:
        found[tuple(getattr(one, key) for key, _ in several)].append(one)

    def name(values: tuple[str, ...]) -> str:
        # The first key goes without a letter, whichever it is: it is the number that the header has.
        marks = ["", *(mark for _, mark in several[1:])][: len(values)]
        return ".".join(f"{mark}{value or 'none'}" for mark, value in zip(marks, values, strict=True))

    return [(name(values), found[values]) for values in sorted(found, key=lambda values: [*map(_natural, values)])]


def _natural(value: str) -> tuple[bool, float, str]:
    """Numbers by size, then texts; what is missing comes last."""
    try:
        return not value, float(value), ""
    except ValueError:
        return not value, float("inf"), value


def _parts(slices: list[Slice], depths: NDArray[np.float64]) -> list[list[Slice]]:
    """Slices with the same name in the header, separated by times, by other fields, or by their order."""
    times = [one.acquired_s for one in slices]
    few = {time for time in times if time is not None}
    if None not in times and 1 < len(few) <= min(MOST_TIMES, len(slices) // FEWEST_OF_A_TIME):
        parts = _by(slices, lambda one: one.acquired_s)
        return [part for members in parts for part in _crowded_parts(members, _depths_of(members, slices, depths))]
    return _crowded_parts(slices, depths)


def _depths_of(members: list[Slice], slices: list[Slice], depths: NDArray[np.float64]) -> NDArray[np.float64]:
    """The depths of some of `slices`."""
    at = {id(one): depth for one, depth in zip(slices, depths, strict=True)}
    return np.array([at[id(one)] for one in members])


def _crowded_parts(slices: list[Slice], depths: NDArray[np.float64]) -> list[list[Slice]]:
    """As they are where no slices lie on each other; otherwise the first way that takes them apart."""
    if not clashes(depths):
        return [slices]
    for value in _VALUES:
        parts = _by(slices, value)
        if 1 < len(parts) <= MOST_VALUES and not any(clashes(_depths_of(part, slices, depths)) for part in parts):
            return parts
    for order in _ORDERS:
        runs = runs_of(depths, [order(one) for one in slices], usual_step_mm(depths))
        if len(runs) > 1:
            return [[slices[index] for index in run] for run in runs]
    return [slices]


def _by(slices: list[Slice], value: Callable[[Slice], Hashable]) -> list[list[Slice]]:
    """Slices by a value, in its order; in the order of first appearance where values cannot be compared."""
    found: dict[Any, list[Slice]] = defaultdict(list)
    for one in slices:
        found[value(one)].append(one)
    try:
        return [found[key] for key in sorted(found)]
    except TypeError:
        return list(found.values())


def _apart(index: int) -> Callable[[Slice], Hashable]:
    def value(one: Slice) -> Hashable:
        written = one.apart[index] if one.apart else ""
        return _natural(written)

    return value


_VALUES: list[Callable[[Slice], Hashable]] = [
    lambda one: (one.acquired_s is None, one.acquired_s or 0.0),
    *(_apart(index) for index in range(len(APART))),
    lambda one: (one.content_s is None, one.content_s or 0.0),
    lambda one: str(one.file.parent),
    lambda one: str(one.file) if one.frame is not None else "",
]
_ORDERS: list[Callable[[Slice], Any]] = [
    lambda one: one.acquired_s,
    lambda one: one.content_s,
    lambda one: one.order,
    lambda one: (str(one.file.parent), [int(p) if p.isdigit() else -1 for p in _split_name(one.name)], one.name),
]


def _split_name(name: str) -> list[str]:
    digits = "".join(character if character.isdigit() else " " for character in name)
    return digits.split()
