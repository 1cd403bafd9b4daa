"""What the manifest of a folder says by now, for whoever comes after the runs that wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from flareseg.cases.manifest_lines import FAILED, NAME, Record, line_at, records
from flareseg.cases.sharing import Sharing


class LastLines:
    """The line that counts about each case, failures included; none without a manifest.

    Measurements stay in the file until they are asked for: those of many cases are many.

    Args:
        folder: with the manifest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_case: dict[str, Record] = {}
        self._read()

    def __len__(self) -> int:
        return len(self._by_case)

    def __iter__(self) -> Iterator[Record]:
        """Without their measurements."""
        return iter(self._by_case.values())

    def rows_of(self, case: str) -> list[dict[str, Any]]:
        """The measurements of a case; none where they are gone."""
        for _ in range(2):
            record = self._by_case.get(case)
            if record and record.place and (found := line_at(record.place)):
                return found.rows
            self._read()  # a run has ended meanwhile, and its lines were moved into the manifest
        return []

    def _read(self) -> None:
        order: dict[str, Any] = {}
        for record in _every(self._folder):
            if record.order == order:
                record = replace(record, order=order)  # one for all, not one for each
            order = record.order
            known = self._by_case.get(record.case)
            if known is None or (record.serial or 0) >= (known.serial or 0):
                self._by_case[record.case] = replace(record, rows=[])


def listed_results(folder: Path) -> frozenset[str]:
    """The names of files in `folder` that its manifest says flareseg wrote; none without a manifest."""
    return frozenset(name for record in _every(folder) if record.status != FAILED for name in record.outputs)


def _every(folder: Path) -> Iterator[Record]:
    for path in (*Sharing(folder).runs(), folder / NAME):
        for record, _ in records(path):
            yield record
