"""Outlines of a mask in one plane as closed polygons, with the holes cut in by keyholes.

An outline goes through the middles of the edges between pixels inside and outside, so that the centres of the former
lie inside it, all others outside. Pixels that touch at a corner are one region. A hole is joined to the outline around
it by a channel of no width (the keyhole technique of DICOM PS3.3 C.8.8.6.3), which runs between two rows of centres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
"""(n, 2) corners x (column), y (row) in pixels, the centre of the first pixel being 0, 0; not repeated at the end."""

# Steps along pixel edges, the inside on the right hand as rows grow downwards: to the right, down, to the left, up.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """The closed polygons around a mask, (rows, columns); each may have holes cut in."""
    if not mask.any():
        return []
    solid: list[Polygon] = []
    holes: list[Polygon] = []
    for loop in _loops(mask):
        polygon = _straightened(loop)
        (solid if _area(polygon) > 0 else holes).append(polygon)
    return _with_keyholes(solid, holes)


def _loops(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Middles of all pixel edges between inside and outside, loop by loop."""
    padded = np.pad(mask, 1)
    width = padded.shape[1] + 1
    edges: dict[int, list[int]] = {}
    # An edge starts at a corner of pixels (row, column of the padded lattice) and takes one of the steps.
    for step, (outside, shift) in enumerate((((-1, 0), (0, 0)), ((0, 1), (0, 1)), ((1, 0), (1, 1)), ((0, -1), (1, 0)))):
        neighbour = np.roll(padded, (-outside[0], -outside[1]), axis=(0, 1))
        rows, columns = np.nonzero(padded & ~neighbour)
        for corner in ((rows + shift[0]) * width + columns + shift[1]).tolist():
            edges.setdefault(corner, []).append(step)
    loops = []
    while edges:
        corner = next(iter(edges))
        points: list[tuple[float, float]] = []
        step = edges[corner][0]
        while corner in edges:
            waiting = edges[corner]
            if len(waiting) > 1:  # two pixels touch at this corner: turn left, so that they are one region
                left = (step + 3) % 4
                step = left if points and left in waiting else waiting[0]
            else:
                step = waiting[0]
            waiting.remove(step)
            if not waiting:
                del edges[corner]
            x, y = corner % width, corner // width
            dx, dy = _STEPS[step]
            # the corner (0, 0) of the lattice is half a pixel before the padding's first centre, which is (-1, -1)
            points.append((x + dx / 2 - 1.5, y + dy / 2 - 1.5))
            corner += dx + dy * width
        loops.append(np.array(points))
    return loops


def _straightened(points: Polygon) -> Polygon:
    """Without the corners that lie on the line between their neighbours."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bent = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    kept: Polygon = points[bent]
    return kept


def _area(polygon: Polygon) -> float:
    """Twice the area in pixels, negative for holes."""
    x, y = polygon.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y))


def _with_keyholes(solid: list[Polygon], holes: list[Polygon]) -> list[Polygon]:
    """Cut every hole into the polygon that lies to the right of its topmost corner.

    That may be another hole, whose top is higher or farther to the right: the lowest come first.
    """
    rest = sorted((_from_top_right(hole) for hole in holes), key=lambda hole: (-hole[0, 1], hole[0, 0]))
    polygons = list(solid)
    while rest:
        hole = rest.pop(0)
        every = [*rest, *polygons]
        distances = [_first_crossing(hole[0], other) for other in every]
        nearest = min(range(len(every)), key=lambda index: distances[index][0])
        x, edge = distances[nearest]
        entry = np.array([[x, hole[0, 1]]])
        other = every[nearest]
        joined = np.concatenate([other[: edge + 1], entry, hole, hole[:1], entry, other[edge + 1 :]])
        if nearest < len(rest):
            rest[nearest] = joined
        else:
            polygons[nearest - len(rest)] = joined
    return polygons


def _from_top_right(hole: Polygon) -> Polygon:
    """Beginning with its topmost corner, of several the rightmost."""
    first = np.lexsort((-hole[:, 0], hole[:, 1]))[0]
    return np.roll(hole, -int(first), axis=0)


def _first_crossing(start: NDArray[np.float64], polygon: Polygon) -> tuple[float, int]:
    """Where a ray to the right of `start` first meets a polygon: x (infinite: nowhere), and the corner before."""
    x, y = polygon.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    across = (y <= start[1]) != (next_y <= start[1])
    edges = np.flatnonzero(across)
    share = (start[1] - y[edges]) / (next_y[edges] - y[edges])
    found = x[edges] + share * (next_x[edges] - x[edges])
    beyond = found > start[0]
    if not beyond.any():
        return float("inf"), -1
    best = int(np.argmin(np.where(beyond, found, np.inf)))
    return float(found[best]), int(edges[best])
