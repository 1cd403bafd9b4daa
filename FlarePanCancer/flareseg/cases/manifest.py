"""The manifest beside results: of each case what it was read from, how it was made, and what was written.

One JSON object a line, only ever appended: a killed run loses at most the line that is being written, and a line that
is cut off is passed over. Of a result file the line with the highest `serial` counts: its writer has seen the others.

Of several runs at once one appends to the manifest itself. The others append to files of their own in the folder that
`sharing.py` describes, because two machines that append to one file on NFS overwrite each other's lines. Whoever reads
the manifest reads these too; when a run has ended or died, the next one that ends moves its lines into the manifest.
"""

# os.path answers also about names for which pathlib raises errors, such as too long ones.
# ruff: noqa: PTH100, PTH116

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flareseg.cases.manifest_lines import FAILED, NAME, STARTED, Place, Record, append_line, line_at, records, take_in
from flareseg.cases.sharing import Sharing
from flareseg.errors import OutputError
from flareseg.text import shown

WRITER = "manifest"
"""The claim of the run that appends to the manifest itself."""
REFRESH_EVERY_S = 5.0
"""Less than `sharing.KEPT_S`."""


@dataclass
class _ReadSoFar:
    identity: tuple[int, int]
    offset: int


class Manifest:
    """The manifest in the folder `folder`, which need not exist yet.

    Attributes:
        path: the file.
        sharing: this run among others in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.sharing = Sharing(folder)
        self._last: dict[str, Record] = {}
        self._before: dict[str, Record | None] = {}
        self._serials: dict[str, int] = {}
        self._by_others: dict[str, Record] = {}
        self._read: dict[str, _ReadSoFar] = {}
        self._order: dict[str, Any] = {}
        self._wrote_own = False
        self._own = frozenset([self.sharing.own.name])
        self._lock = threading.RLock()  # results may be written beside the next case
        self.refresh()
        self._by_others.clear()

    def refresh(self) -> None:
        """Read what other runs have written since."""
        with self._lock:
            self._refreshed = time.monotonic()
            runs = self.sharing.runs()
            self._runs = frozenset(path.name for path in runs)
            # The manifest last: what is moved there meanwhile is in one of both.
            for path in (*runs, self.path):
                if path != self.sharing.own:
                    self._read_on(path)

    def keep_fresh(self) -> None:
        """Read what others have written if that was not done just now."""
        if time.monotonic() > self._refreshed + REFRESH_EVERY_S:
            self.refresh()

    def claim(self, key: str) -> str:
        """As `Sharing.claim`; what others have done of it is known then."""
        with self._lock:
            self.keep_fresh()
            holder = self.sharing.claim(key)
            # Who has done it kept it for longer than it takes to be read, unless that run has ended since, or died.
            if not holder and (self.sharing.took_over or self.sharing.seen - self._own != self._runs - self._own):
                self.refresh()
            return holder

    def key_of(self, output: Path) -> str:
        """What a result is called in the manifest."""
        try:
            return Path(os.path.relpath(os.path.abspath(output), os.path.abspath(self.path.parent))).as_posix()
        except ValueError:  # another drive of Windows
            return os.path.abspath(output)

    def last_of(self, output: Path) -> Record | None:
        """The last line about a result, without its measurements; None where there is none, or its case failed."""
        return self._last.get(self.key_of(output))

    def by_others(self, output: Path) -> Record | None:
        """The last line about a result if another run wrote it since this one began, failures included."""
        return self._by_others.get(self.key_of(output))

    def rows_of(self, record: Record) -> list[dict[str, Any]]:
        """The measurements in a line; read from the file, because those of many cases are many."""
        for _ in range(2):
            if record.rows or record.place is None:
                return record.rows
            if found := line_at(record.place):
                return found.rows
            self.refresh()  # it was moved into the manifest
            record = next((self._last[name] for name in record.outputs if name in self._last), record)
        return []

    def append(self, record: Record) -> None:
        """Write a line, and see that it is on the disk.

        Raises:
            OutputError: when it cannot be written.
        """
        with self._lock:
            serial = 1 + max((self._serials.get(name, 0) for name in record.outputs), default=0)
            record = replace(record, serial=serial)
            try:
                here = self.sharing.holds(WRITER) or self.sharing.claim(WRITER) == ""
                place = append_line(self.path if here else self.sharing.own, record)
                if here:
                    self._note_own_line(place)
                else:
                    self._wrote_own = True
            except OSError as error:
                raise OutputError(f"'{shown(self.path)}' cannot be written: {error.strerror or error}.") from None
            self._remember(replace(record, rows=[], place=place))
            for name in record.outputs:
                self._by_others.pop(name, None)

    def end(self, *, hurry: bool = False) -> None:
        """Leave the folder to others, and, unless in a hurry, move lines of ended runs into the manifest. Nothing is
        raised."""
        if not self._lock.acquire(timeout=1.0):  # a command that is being ended waits for nobody
            return
        try:
            self.sharing.end(keep=self._wrote_own)
        finally:
            self._lock.release()
        if not hurry:
            gather(self.path)

    def _note_own_line(self, place: Place) -> None:
        """Pass over a line of our own when the manifest is read on, if that has been read up to there."""
        so_far = self._read.get(NAME)
        if so_far is None and place.begin == 0:
            about = os.stat(place.path)
            so_far = self._read[NAME] = _ReadSoFar((about.st_dev, about.st_ino), 0)
        if so_far and so_far.offset == place.begin:
            so_far.offset = place.end

    def _read_on(self, path: Path) -> None:
        so_far = self._read.get(path.name)
        begin = (so_far.identity, so_far.offset) if so_far else None
        for record, identity in records(path, begin):
            if so_far is None or identity != so_far.identity:
                so_far = self._read[path.name] = _ReadSoFar(identity, 0)
            if record.place and record.place.whole:
                so_far.offset = record.place.end
            if record.order == self._order:
                record = replace(record, order=self._order)  # one for all, not one for each
            self._order = record.order
            self._remember(replace(record, rows=[]))
            self._by_others |= dict.fromkeys(record.outputs, replace(record, rows=[]))

    def _remember(self, record: Record) -> None:
        for name in record.outputs:
            newest = self._serials.get(name, 0)
            serial = newest + 1 if record.serial is None else record.serial
            if serial < newest:
                continue
            self._serials[name] = serial
            if record.status == FAILED:  # it wrote nothing: what was there is what it was
                before = self._before.get(name)
                self._last.pop(name, None)
                if before:
                    self._last[name] = before
                continue
            if record.status == STARTED:
                self._before[name] = self._last.get(name)
            self._last[name] = record


def gather(path: Path) -> None:
    """Move the lines of runs that have ended or died into the manifest `path`, unless a living run writes to it, which
    will do so as it ends; and give back what the dead have claimed. Nothing is raised."""
    try:
        while True:
            sharing = Sharing(path.parent)
            ended = [run for run in sharing.runs() if not sharing.lives(run.name)]
            if not ended:
                return
            try:
                if sharing.claim(WRITER):
                    return
                for run in ended:
                    take_in(run, path)
                sharing.bury()
            finally:
                sharing.end(keep=False)
    except OSError:
        return
