"""Islands of one structure that lie at another: a part of that one, which the network gave the wrong name.

A plain kidney has the density of a spleen, and a network that sees only a part of it may call its lower half so. The
largest component alone would leave a hole there; what touches another organ by a fifth of its surface goes to that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Box, Triple

TOUCHING = 0.2
"""Share of an island's surface that touches the structure to which it goes."""
LEAST_ML = 0.3
"""Smaller islands are not looked into: they are many, and their surface says little."""


@dataclass
class Components:
    """The connected components of a label map, by their number; 0 is the background.

    Attributes:
        value: label of each.
        voxels: number of each.
        total_hu: sum of each, if it is needed.
        group: of each, the number of one that it belongs with; each is a group of its own at first.
    """

    value: NDArray[np.uint8]
    voxels: NDArray[np.int64]
    total_hu: NDArray[np.float64] | None
    group: NDArray[np.intp]

    def together(self) -> Components:
        """Each group as if it were one component, under the number of one of them; the others have no voxels."""
        size = len(self.group)
        total = None if self.total_hu is None else np.bincount(self.group, self.total_hu, size).astype(np.float64)
        voxels = np.bincount(self.group, self.voxels, size).astype(np.int64)
        return Components(np.where(voxels > 0, self.value, 0).astype(np.uint8), voxels, total, self.group)

    def join(self, number: int, others: NDArray[np.intp]) -> None:
        """Let a component have the label of `others` and belong with them."""
        self.value[number] = self.value[others[0]]
        ends = self.group[[number, *others]]
        self.group[np.isin(self.group, ends)] = self.group[others[0]]


def give_to_neighbours(
    found: Components,
    numbers: NDArray[np.integer],
    kept: Callable[[Components], NDArray[np.bool_]],
    sharing: list[int],
    spacing_zyx_mm: Triple,
) -> NDArray[np.bool_]:
    """Give each island that is not kept to the structure that it touches most, from a fifth of its surface on.

    One after the other, the most enclosed first: an island may connect what lay apart, which is then kept itself.

    Args:
        found: changed in place.
        numbers: (z, y, x), the component of each voxel.
        kept: which groups are kept.
        sharing: labels of the structures among which islands may go from one to the other.
        spacing_zyx_mm: of the voxels.

    Returns:
        Which components are kept.
    """
    from scipy import ndimage

    keep = kept(found.together())[found.group]
    least = LEAST_ML * 1000 / np.prod(spacing_zyx_mm)
    islands = np.flatnonzero(~keep & np.isin(found.value, sharing) & (found.voxels >= least))
    if not len(islands):
        return keep
    boxes = ndimage.find_objects(numbers)
    touched = []
    for island in map(int, islands):
        area, whole = _contacts(numbers, len(found.value), island, boxes[island - 1], spacing_zyx_mm)
        by_value = np.bincount(found.value, area, 256)
        by_value[[value for value in range(256) if value not in sharing or value == found.value[island]]] = 0
        taker = int(by_value.argmax())
        if by_value[taker] > 0 and by_value[taker] >= TOUCHING * whole:
            others = np.flatnonzero((area > 0) & (found.value == taker))
            touched.append((by_value[taker] / whole, island, taker, others))
    for _, island, taker, others in sorted(touched, key=lambda one: -one[0]):
        still = others[found.value[others] == taker]  # they may have been given away themselves
        larger = found.voxels[found.value == taker].sum() > found.voxels[island]
        if not keep[island] and len(still) and larger:
            found.join(island, still)
            keep = kept(found.together())[found.group]
    return keep


def _contacts(
    numbers: NDArray[np.integer], count: int, island: int, box: Box, spacing_zyx_mm: Triple
) -> tuple[NDArray[np.float64], float]:
    """The area in mm² by which a component touches each of `count` others, and its whole surface within the image."""
    around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
    near = numbers[around]
    own = near == island
    area = np.zeros(count)
    for axis, mm in enumerate(spacing_zyx_mm):
        face = float(np.prod(spacing_zyx_mm)) / mm
        low = tuple(slice(None, -1) if k == axis else slice(None) for k in range(3))
        high = tuple(slice(1, None) if k == axis else slice(None) for k in range(3))
        for here, there in ((low, high), (high, low)):
            beyond = near[there][own[here] & ~own[there]]
            area += face * np.bincount(beyond, minlength=len(area))
    whole = float(area.sum())
    area[0] = 0
    return area, whole
