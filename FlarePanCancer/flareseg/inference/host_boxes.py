"""Where a model of lesions looks: boxes around its hosts, and which of them are better looked at together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.inference.orientation import network_orientation
from flareseg.inference.parity import STEP
from flareseg.inference.resample import target_shape
from flareseg.inference.sliding import window_shape, window_starts
from flareseg.model.plan import Plan, WindowRule
from flareseg.options import Options
from flareseg.volume import Box, Geometry, Triple


def boxes_of(labels: NDArray[np.uint8], values: Sequence[int]) -> dict[int, Box]:
    """The box of each label value that is in `labels`, (z, y, x)."""
    found = ndimage.find_objects(labels, max(values, default=0))
    return {value: found[value - 1] for value in values if found[value - 1] is not None}


def widened(box: Box, margin_mm: float, spacing_zyx_mm: Triple, within: Box) -> Box | None:
    """A box and what lies up to `margin_mm` around it, as far as it lies in another box; None where nothing does."""
    z, y, x = (
        slice(max(part.start - more, outer.start), min(part.stop + more, outer.stop))
        for part, outer, more in zip(box, within, (math.ceil(margin_mm / mm) for mm in spacing_zyx_mm), strict=True)
    )
    return (z, y, x) if all(part.start < part.stop for part in (z, y, x)) else None


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    z, y, x = (
        slice(min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*boxes, strict=True)
    )
    return z, y, x


def within(box: Box, outer: Box) -> Box:
    """`box`, counted from the corner of `outer`, in which it lies."""
    z, y, x = (slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(box, outer, strict=True))
    return z, y, x


def cheapest(boxes: Sequence[Box], cost: Callable[[Box], float]) -> list[Box]:
    """Boxes that hold all of `boxes`: two become one for as long as that costs no more than both."""
    left = list(boxes)
    for first in range(len(left)):
        for second in range(len(left) - 1, first, -1):
            both = union((left[first], left[second]))
            if cost(both) <= cost(left[first]) + cost(left[second]):
                left[first] = both
                del left[second]
                return cheapest(left, cost)
    return left


def window_cost(plan: Plan, options: Options, geometry: Geometry) -> Callable[[Box], float]:
    """How many voxels a network computes for a box of a CT.

    Args:
        plan: of the network.
        options: of the run, with parity decided.
        geometry: of the CT.
    """
    orientation = network_orientation(plan, geometry)
    spacing = orientation.geometry_to_canonical(geometry).spacing_zyx_mm
    step = options.step or (STEP if options.parity else plan.step)

    def cost(box: Box) -> float:
        z, y, x = (box[axis].stop - box[axis].start for axis in orientation.axes)
        shape = target_shape((z, y, x), spacing, plan.spacing_zyx_mm)
        rule: WindowRule = "fixed" if options.parity else plan.windows
        window = window_shape(shape, plan.patch_zyx, plan.stride_zyx, step, rule=rule)
        counts = (len(window_starts(size, length, step)) for size, length in zip(shape, window, strict=True))
        return float(math.prod(counts) * math.prod(window))

    return cost
