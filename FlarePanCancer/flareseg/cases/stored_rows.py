"""The measurements of many cases, as a sequence that need not be in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import overload

from flareseg.cases.find import Case
from flareseg.results.measure import Measurement


class StoredRows(Sequence[Measurement]):
    """Reads the rows of one case after the other, whenever they are gone through.

    Args:
        cases: in order.
        rows_of: gives the rows of a case.
    """

    def __init__(self, cases: Sequence[Case], rows_of: Callable[[Case], Sequence[Measurement]]) -> None:
        self._cases, self._rows_of = cases, rows_of

    def __iter__(self) -> Iterator[Measurement]:
        for case in self._cases:
            yield from self._rows_of(case)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Measurement]: ...
    def __getitem__(self, index: int | slice) -> Measurement | Sequence[Measurement]:
        if isinstance(index, int) and index >= 0:
            for row in islice(self, index, None):
                return row
            raise IndexError(index)
        return list(self)[index]
