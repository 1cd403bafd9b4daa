"""Values of a label map that mean no structure: it is numbered in another way, or holds more."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

MOST_VALUES = 10


def foreign_values(labels: NDArray[np.uint8], known: Iterable[int]) -> str:
    """A list for messages of the values of a label map that are neither 0 nor `known`; "" where there are none."""
    found = set(np.flatnonzero(np.bincount(labels.ravel(order="K"), minlength=256)).tolist()) - {0, *known}
    listed = sorted(found)
    return ", ".join(map(str, listed[:MOST_VALUES])) + (" ..." if len(listed) > MOST_VALUES else "")
