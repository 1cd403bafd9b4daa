"""Where each value of a label map lies: work on a structure stays within its box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.volume import Box


@dataclass(frozen=True)
class Region:
    """The voxels of one value.

    Attributes:
        box: the smallest that holds all of them.
        mask: (z, y, x) which voxels of the box.
    """

    box: Box
    mask: NDArray[np.bool_]

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The values (n,) of an array of the label map's shape in the region."""
        values: NDArray[Any] = array[self.box][self.mask]
        return values

    def touches_border(self, shape: tuple[int, ...]) -> bool:
        """Whether it reaches a face of the volume."""
        return any(part.start == 0 or part.stop == size for part, size in zip(self.box, shape, strict=True))


class Regions:
    """The regions of a label map, made when they are asked for.

    Args:
        labels: (z, y, x) uint8, in any order of memory.
    """

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        from scipy.ndimage import find_objects

        self._labels = labels
        # Along the order of memory, which is several times as quick.
        axes = np.argsort([-abs(stride) for stride in labels.strides], kind="stable")
        back = np.argsort(axes)
        found = find_objects(labels.transpose(axes))
        self._boxes = {
            value: (box[back[0]], box[back[1]], box[back[2]]) for value, box in enumerate(found, 1) if box is not None
        }

    def of(self, value: int) -> Region | None:
        """The voxels of a value; None where there is none."""
        box = self._boxes.get(value)
        return None if box is None else Region(box, np.ascontiguousarray(self._labels[box] == value))
