"""Which lesion of a later scan is which of an earlier one, by where they lie in their organ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import Structure
from flareseg.results.followup.alignment import Alignment
from flareseg.results.followup.shapes import Shape

ALONE_MM = 5.0
"""What it costs to leave a lesion without a partner: two are a pair where that costs less than leaving both alone."""
OFF_CENTRE = 0.1
"""Cost of a distance of centres; a large lesion may grow or shrink on one side."""
OTHER_HOST_MM = 2.0
PART_OF = 0.5
"""A lesion of which this share lies within another one, which has its partner, is a part of it: split, or merged."""
FAR_MM = 25.0
"""Lesions with such a gap between them are looked at no closer; more than a pair may cost."""
EDGE_MM = 2.0
"""Within so much of a lesion's surface, a place counts as in it."""


@dataclass(frozen=True)
class Candidate:
    """A lesion that may be one of a pair.

    Attributes:
        shape: where it lies in its own scan.
        volume_ml: how large it is.
        host: the organ in which it lies, or None.
    """

    shape: Shape
    volume_ml: float
    host: Structure | None


@dataclass(frozen=True)
class Link:
    """Two candidates that are one lesion, by their places in their lists.

    Attributes:
        earlier, later: which.
        apart_mm: mean distance of the smaller one from the other, 0 where it lies in it: how doubtful the pair is.
    """

    earlier: int
    later: int
    apart_mm: float


def pair(earlier: Sequence[Candidate], alignments: Sequence[Alignment], later: Sequence[Candidate]) -> list[Link]:
    """Pairs, each lesion with one partner at most; then the parts of lesions that split or merged.

    Args:
        earlier: of one or several earlier scans.
        alignments: from the scan of each of these to the later scan.
        later: of one scan.
    """
    from scipy.optimize import linear_sum_assignment

    if not earlier or not later:
        return []
    near = [[_nearness(one, there, other) for other in later] for one, there in zip(earlier, alignments, strict=True)]
    rows, columns = len(earlier), len(later)
    # Beside each pair, the choice to leave it alone, so that a poor pair is not made for the sake of their number.
    costs = np.full((rows + columns, rows + columns), ALONE_MM)
    costs[:rows, :columns] = [[each.cost_mm for each in row] for row in near]
    costs[rows:, columns:] = 0.0
    links = [
        Link(int(row), int(column), near[row][column].apart_mm)
        for row, column in zip(*linear_sum_assignment(costs), strict=True)
        if row < rows and column < columns and near[row][column].cost_mm < 2 * ALONE_MM
    ]
    return sorted([*links, *_parts(near, links)], key=lambda link: (link.earlier, link.later))


@dataclass(frozen=True)
class _Nearness:
    cost_mm: float
    apart_mm: float
    earlier_inside: float
    later_inside: float


def _nearness(earlier: Candidate, there: Alignment, later: Candidate) -> _Nearness:
    centres = float(np.linalg.norm(there.of(earlier.shape.centre[None])[0] - later.shape.centre))
    between = centres - earlier.shape.radius_mm - later.shape.radius_mm
    if between > FAR_MM:
        return _Nearness(FAR_MM, between, 0.0, 0.0)
    forwards = later.shape.distance(there.of(earlier.shape.inside))
    backwards = earlier.shape.distance(there.inverse().of(later.shape.inside))
    smaller = forwards if earlier.volume_ml <= later.volume_ml else backwards
    apart = float(np.maximum(smaller, 0).mean())
    ratio = abs(float(np.log(max(earlier.volume_ml, 1e-6) / max(later.volume_ml, 1e-6))))
    other = OTHER_HOST_MM if earlier.host != later.host else 0.0
    return _Nearness(apart + OFF_CENTRE * centres + ratio + other, apart, _share(forwards), _share(backwards))


def _share(distance_mm: NDArray[np.float64]) -> float:
    return float((distance_mm <= EDGE_MM).mean())


def _parts(near: Sequence[Sequence[_Nearness]], links: Sequence[Link]) -> list[Link]:
    """A lesion without a partner that lies within one that has one."""
    rows, columns = {link.earlier for link in links}, {link.later for link in links}
    parts = []
    for column in range(len(near[0])):
        if column not in columns and rows:
            row = max(rows, key=lambda row: near[row][column].later_inside)
            if near[row][column].later_inside >= PART_OF:
                parts.append(Link(row, column, near[row][column].apart_mm))
    for row in range(len(near)):
        if row not in rows and columns:
            column = max(columns, key=lambda column: near[row][column].earlier_inside)
            if near[row][column].earlier_inside >= PART_OF:
                parts.append(Link(row, column, near[row][column].apart_mm))
    return parts
