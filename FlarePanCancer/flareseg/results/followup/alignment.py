"""Where a place in one scan lies in another: affine maps, fitted to the surfaces of organs that both scans show.

The fit is a least-squares one on distance maps: the surface of an organ in one scan should lie on that of the other,
seen from both sides. Points outside the other scan's field of view do not count, so that scans of different length do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.results.followup.shapes import Points, Shape

Pair = tuple[Shape, Shape]
"""An organ in the earlier scan, and in the later one."""

ROBUST_MM = 3.0
"""Surfaces that lie further apart count less and less: parts that grew, shrank, or were segmented otherwise."""
FAR_MM = 20.0
UNSEEN_MM = 10.0
"""What a point counts for that the other scan does not show, where places to start from are compared."""
STIFFNESS_MM = 10.0
"""A strain of 1 costs as much as a surface that is off by this everywhere: 0.1 costs 1 mm."""
LEAST_POINTS = 60
OFFSETS_MM = (-60.0, -30.0, 30.0, 60.0)
"""Along the body: where both scans cut all organs, their centres say little of it."""
VIEWS, STEPS_A_VIEW = 2, 8
"""How often it is looked up which points the other scan shows, and the steps of the fit thereafter, at most."""
LEAST_GAIN = 1e-4
"""By which a step has to lower the cost, or the fit is done."""


@dataclass(frozen=True)
class Alignment:
    """An affine map of places in the patient: `matrix` (3, 3) times the place, plus `offset_mm` (3,)."""

    matrix: Points
    offset_mm: Points

    def of(self, points: Points) -> Points:
        return np.asarray(points @ self.matrix.T + self.offset_mm)

    def inverse(self) -> Alignment:
        back = np.asarray(np.linalg.inv(self.matrix), np.float64)
        return Alignment(back, np.asarray(-back @ self.offset_mm))


def shifted(offset_mm: Points) -> Alignment:
    """A translation."""
    return Alignment(np.eye(3), np.asarray(offset_mm, np.float64))


def rough(pairs: Sequence[Pair]) -> Alignment:
    """The best of some translations: none, from centre to centre of each organ, and these along the body."""
    moves = np.array([later.centre - earlier.centre for earlier, later in pairs])
    middle = np.median(moves, axis=0)
    along = [middle + np.array([0, 0, mm]) for mm in OFFSETS_MM]
    candidates = [shifted(move) for move in (np.zeros(3), middle, *moves, *along)]
    return min(candidates, key=lambda one: np.mean([_misfit(pair, one) for pair in pairs]))


def rigid(pairs: Sequence[Pair], start: Alignment, points: int) -> Alignment:
    """The best rotation and translation near `start`, by at most `points` points of each surface."""
    return _fitted(pairs, start, points, strained=False)


def affine(pairs: Sequence[Pair], start: Alignment, points: int) -> Alignment:
    """As `rigid`, with strain, which costs."""
    return _fitted(pairs, start, points, strained=True)


@dataclass(frozen=True)
class Fit:
    """How well an organ agrees with itself in the other scan, within what both show.

    Attributes:
        mean_mm: mean distance of the surfaces.
        dice: overlap, 0 to 1.
        seen: share of both surfaces that the other scan shows.
    """

    mean_mm: float
    dice: float
    seen: float


def fit_of(pair: Pair, alignment: Alignment) -> Fit:
    """How well an organ agrees under an alignment."""
    apart, seen, shares = [], [], []
    for shape, other, there in _both_ways(pair, alignment):
        surface, inside = there.of(shape.surface), there.of(shape.inside)
        shown = other.sees(surface)
        apart.append(np.abs(other.misfit(surface[shown])))
        seen.append(shown)
        hits = other.distance(inside[other.sees(inside)]) < 0
        shares.append(float(hits.mean()) if len(hits) else 0.0)
    all_mm, all_seen = np.concatenate(apart), np.concatenate(seen)
    dice = 2 / (1 / shares[0] + 1 / shares[1]) if min(shares) > 0 else 0.0
    mean_mm = float(all_mm.mean()) if len(all_mm) else FAR_MM
    return Fit(mean_mm, dice, float(all_seen.mean()) if len(all_seen) else 0.0)


def _both_ways(pair: Pair, alignment: Alignment) -> list[tuple[Shape, Shape, Alignment]]:
    earlier, later = pair
    return [(earlier, later, alignment), (later, earlier, alignment.inverse())]


def _misfit(pair: Pair, alignment: Alignment) -> float:
    """Mean distance of the surfaces, bounded."""
    total = []
    for shape, other, there in _both_ways(pair, alignment):
        places = there.of(shape.surface[::8])
        apart = np.minimum(np.abs(other.misfit(places)), FAR_MM)
        total.append(np.where(other.sees(places), apart, UNSEEN_MM))
    both = np.concatenate(total)
    return float(both.mean()) if len(both) else FAR_MM


@dataclass(frozen=True)
class _Side:
    """Points of one surface, all of which the other scan shows."""

    points: Points
    other: Shape
    forwards: bool

    def misfit(self, alignment: Alignment) -> NDArray[np.float64]:
        return self.other.misfit((alignment if self.forwards else alignment.inverse()).of(self.points))

    def equations(self, alignment: Alignment, centre: Points) -> tuple[Points, NDArray[np.float64]]:
        """How the misfit (n,) changes (n, 12) with a rotation, a shift and a strain about `centre` in the later scan.

        A point x of the earlier scan that lies at y goes to y + d(y). A point y of the later one, which comes from x,
        then comes from x - d(y), taken back by the alignment.
        """
        back = alignment.inverse()
        there = (alignment if self.forwards else back).of(self.points)
        slope = self.other.slope(there)
        at = there - centre
        if not self.forwards:
            slope, at = -slope @ back.matrix, self.points - centre
        crossed = np.cross(at, slope)
        sheared = [slope[:, i] * at[:, j] + slope[:, j] * at[:, i] for i, j in ((0, 1), (0, 2), (1, 2))]
        return np.column_stack([crossed, slope, slope * at, *sheared]), self.other.misfit(there)


def _sides(pair: Pair, alignment: Alignment, most: int) -> list[_Side]:
    sides = []
    for number, (shape, other, there) in enumerate(_both_ways(pair, alignment)):
        shown = shape.surface[other.sees(there.of(shape.surface))]
        every = max(1, -(-len(shown) // most))
        sides.append(_Side(shown[::every], other, number == 0))
    return sides


def _fitted(pairs: Sequence[Pair], start: Alignment, points: int, *, strained: bool) -> Alignment:
    """Gauss and Newton's steps, weighted anew each time, so that what does not fit at all does not pull."""
    best, strain = start, np.zeros(6)
    for _ in range(VIEWS):
        sides = [side for pair in pairs for side in _sides(pair, best, points)]
        if sum(len(side.points) for side in sides) < LEAST_POINTS:
            break
        cost = np.inf
        for _ in range(STEPS_A_VIEW):
            centre = np.mean([best.of(earlier.centre[None])[0] for earlier, _ in pairs], axis=0)
            parts = [side.equations(best, centre) for side in sides]
            slopes, misfit = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
            change = _step(slopes if strained else slopes[:, :6], misfit, strain)
            tried = _changed(best, centre, change)
            now = float(np.mean(_bounded(np.concatenate([side.misfit(tried) for side in sides]))))
            if now >= cost - LEAST_GAIN:
                break
            best, cost, strain = tried, now, strain + change[6:] if strained else strain
    return best


def _step(slopes: Points, misfit: NDArray[np.float64], strain: Points) -> NDArray[np.float64]:
    """The change of 6 or 12 parameters."""
    weights = 1 / np.sqrt(1 + (misfit / ROBUST_MM) ** 2)
    weighted = slopes * weights[:, None]
    left, right = slopes.T @ weighted, -weighted.T @ misfit
    if slopes.shape[1] > 6:
        stiff = len(misfit) * STIFFNESS_MM**2
        left[range(6, 12), range(6, 12)] += stiff
        right[6:] -= stiff * strain
    left += np.diag(1e-3 * np.diag(left) + 1e-9)
    return np.asarray(np.linalg.solve(left, right))


def _changed(alignment: Alignment, centre: Points, change: NDArray[np.float64]) -> Alignment:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(change[:3]).as_matrix()
    if len(change) > 6:
        a, b, c, d, e, f = change[6:]
        turn = turn @ (np.eye(3) + np.array([[a, d, e], [d, b, f], [e, f, c]]))
    offset = turn @ (alignment.offset_mm - centre) + centre + change[3:6]
    return Alignment(turn @ alignment.matrix, offset)


def _bounded(misfit: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is minimised: squares of small distances, and large ones as they are."""
    return np.asarray(np.sqrt(1 + (misfit / ROBUST_MM) ** 2) - 1)
