"""Cached cases in a few arrays, which the worker processes of a loader share instead of copying.

As Python objects, 4,000 cases take 280 MB in every worker (Testing/benchmarks/loader_memory.py): each has up to 200
voxels of 14 structures, and each worker gets a copy of all. Here they are five tensors. A process that is started gets
a handle of their memory, no copy; torch removes that memory with the last process that uses it, however that ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from train.data.cache import CachedCase
from train.data.index import CLASSES


class CaseList(Sequence[CachedCase]):
    """A sequence of cached cases; each is made anew when it is asked for."""

    def __init__(self, cases: Iterable[CachedCase]) -> None:
        """
        Args:
            cases: taken one after the other, so that a generator never has all of them in memory.
        """
        facts, centres, counts, known = [], [np.zeros((0, 3), np.uint16)], [], []
        for case in cases:
            facts.append(_facts(case))
            counts.append([len(case.centres.get(value, ())) for value in range(CLASSES)])
            centres += [_small(case.centres[value]) for value in range(CLASSES) if value in case.centres]
            known.append(case.known)
        self._count = len(facts)
        points = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.asarray(counts, np.int64).reshape(-1))])
        letters = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(text) for text in facts], dtype=np.int64)])
        self._facts, self._letters = _shared(np.frombuffer(b"".join(facts), np.uint8)), _shared(letters)
        self._centres, self._points = _shared(np.concatenate(centres).view(np.int16)), _shared(points)
        self._known = _shared(np.asarray(known, bool).reshape(-1, CLASSES))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> CachedCase: ...
    @overload
    def __getitem__(self, number: slice) -> list[CachedCase]: ...
    def __getitem__(self, number: int | slice) -> CachedCase | list[CachedCase]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(self._count))]
        number = range(self._count)[number]
        start, stop = self._letters[number : number + 2].tolist()
        facts: dict[str, Any] = json.loads(self._facts[start:stop].numpy().tobytes())
        ends = self._points[number * CLASSES : (number + 1) * CLASSES + 1].tolist()
        centres = self._centres.numpy().view(np.uint16)
        return CachedCase(
            **facts
            | {
                "folder": Path(facts["folder"]),
                "shape_zyx": tuple(facts["shape_zyx"]),
                "spacing_zyx_mm": tuple(facts["spacing_zyx_mm"]),
                "known": self._known[number].numpy().copy(),
                "centres": {
                    value: centres[first:last].astype(np.int64)
                    for value, (first, last) in enumerate(pairwise(ends))
                    if last > first
                },
            }
        )


def _facts(case: CachedCase) -> bytes:
    """Everything but the arrays."""
    facts = {key: value for key, value in vars(case).items() if key not in ("known", "centres")}
    return json.dumps(facts | {"folder": str(case.folder)}).encode("ascii")


def _small(points: NDArray[Any]) -> NDArray[np.uint16]:
    """Voxels (n, 3) in two bytes an axis, which is more than any CT has."""
    if points.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError("A cached case has more than 65,536 voxels along an axis.")
    return points.astype(np.uint16)


def _shared(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.copy()).share_memory_()
