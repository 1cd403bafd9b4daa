"""Acquisitions separated by the order in which their slices were made, or numbered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASH_SHARE = 0.5
"""Slices of one acquisition are no nearer than this share of the usual distance."""
JUMP = 5.0
"""In the order of acquisition, a step of more than this many usual distances begins another stretch."""
MOST_RUNS_SHARE = 0.2
FEWEST_OF_A_RUN = 4


def runs_of(depths: NDArray[np.float64], order: Sequence[Any], step: float) -> list[list[int]]:
    """Slices that follow each other: cut where the order turns back, stays at a place, or jumps.

    Where the images of one place follow each other (a perfusion), the first, second, ... of every place.

    Args:
        depths: of the slices, in mm.
        order: a value of each; None where it has none.
        step: the usual distance of neighbouring slices in mm.

    Returns:
        Indices of the slices of each run; none where the order gives no answer.
    """
    if any(value is None for value in order):
        return []
    walk = sorted(range(len(order)), key=lambda i: (order[i], depths[i]))
    moves = np.diff(depths[walk])
    stays = np.abs(moves) < CLASH_SHARE * step
    if any(stay and order[before] == order[after] for stay, (before, after) in zip(stays, pairwise(walk), strict=True)):
        return []
    if np.count_nonzero(stays) > len(stays) / 3 and (ranks := _ranks(depths, order, step)):
        return ranks
    runs = [[walk[0]]]
    direction = 0.0
    for move, stay, index in zip(moves, stays, walk[1:], strict=True):
        if stay or direction * move < 0 or abs(move) > JUMP * step:
            runs.append([])
            direction = 0.0
        else:
            direction = move
        runs[-1].append(index)
    # Images of a bolus tracking, however many, are at one place.
    alone = {round(float(depths[run[0]]) / step) for run in runs if len(run) == 1}
    count = len(alone) + sum(len(run) > 1 for run in runs)
    if count > max(3, MOST_RUNS_SHARE * len(order)) or max(map(len, runs)) < FEWEST_OF_A_RUN:
        return []  # the order has nothing to do with places
    return runs


def _ranks(depths: NDArray[np.float64], order: Sequence[Any], step: float) -> list[list[int]]:
    """The first slice of every place, the second, and so on."""
    places: list[list[int]] = []
    last = -np.inf
    for index in np.argsort(depths, kind="stable").tolist():
        if depths[index] - last >= CLASH_SHARE * step:
            places.append([])
            last = depths[index]
        places[-1].append(index)
    for place in places:
        place.sort(key=lambda i: order[i])
    most = max(map(len, places))
    ranks: list[list[int]] = [[] for _ in range(most)]
    if all(len(place) == most for place in places):
        for place in places:
            for rank, index in zip(ranks, place, strict=True):
                rank.append(index)
        return ranks
    # Some places lack slices: which ones, the counting must say.
    counts = _counts(order)
    full = {tuple(counts[i] % most for i in place) for place in places if counts and len(place) == most}
    residues = next(iter(full), ())
    if len(full) != 1 or len(set(residues)) < most:
        return []
    for index, count in enumerate(counts):
        ranks[residues.index(count % most)].append(index)
    return ranks


def _counts(order: Sequence[Any]) -> list[int]:
    """Instance numbers, or frame numbers of a single object; none where the order is no count."""
    pairs = [value for value in order if isinstance(value, tuple) and isinstance(value[0], int)]
    if len(pairs) < len(order):
        return []
    by_frame = len({instance for instance, _ in pairs}) == 1
    return [frame if by_frame else instance for instance, frame in pairs]
