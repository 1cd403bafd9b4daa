"""Values of a label map that mean no structure: it is numbered in another way, or holds more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import Structure
from flareseg.text import shown

MOST_VALUES = 10


def note_on_foreign_values(
    path: Path, labels: NDArray[np.uint8], known: Iterable[Structure], done: str, *, ignored: int = 0
) -> str:
    """A sentence on the values of a label map that are neither 0, `ignored` nor those of `known` structures.

    Args:
        path: of the label map.
        labels: of any shape.
        known: the structures that a value may mean.
        done: what is not done with the others, e.g. "measured".
        ignored: a value that means something else.

    Returns:
        "" where there are none.
    """
    found = set(np.flatnonzero(np.bincount(labels.ravel(order="K"), minlength=256)).tolist())
    foreign = sorted(found - {0, ignored, *(structure.value for structure in known)})
    if not foreign:
        return ""
    listed = ", ".join(map(str, foreign[:MOST_VALUES])) + (" ..." if len(foreign) > MOST_VALUES else "")
    return f"'{shown(path)}' has values that mean no structure and are not {done}: {listed}."
