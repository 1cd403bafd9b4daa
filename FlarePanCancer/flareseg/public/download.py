"""A file from the web into a `Partial`: from where it stopped, and never more of it than there should be."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterable
from functools import partial as bound
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flareseg.public.entries import PublicModel
from flareseg.public.partial import Partial, Source
from flareseg.public.transport import DownloadError, Interrupted, OtherFile, ask, pieces
from flareseg.system.background import aside, result_of

if TYPE_CHECKING:
    from http.client import HTTPResponse

MOST_BYTES = 2**34
"""Of a file whose size neither the catalogue nor its server states."""
TRIES = 5
"""Where the connection is lost, as long as every one brings something."""
SPARE_BYTES = 2**26
"""That a disk should have left."""


class Follower(Protocol):
    """Who follows a download."""

    def received(self, done: int, total: int | None) -> None:
        """So many bytes of the file are there; `total` is None where nobody has said how many there will be."""

    def message(self, text: str) -> None:
        """One sentence for the user."""


def download(entry: PublicModel, part: Partial, follower: Follower, cancelled: Callable[[], bool]) -> str:
    """Bring the whole file of `entry` into `part`; returns the address that it came from.

    Raises:
        DownloadError: when no address gives it. What has come is kept, unless it cannot be of use.
        Cancelled: when `cancelled` says so; what has come is kept.
    """
    failures = []
    # where something has come from before is asked first: only there it can go on
    for address in sorted(entry.addresses, key=lambda address: address != part.source.address):
        try:
            for left in reversed(range(TRIES)):
                before = part.bytes
                try:
                    _Try(address, entry.bytes, part).run(follower, cancelled)
                    return address
                except Interrupted:
                    if not left or part.bytes <= before:
                        raise
        except DownloadError as error:
            failures.append(error)
    raise failures[0]


def check_room(needs: Iterable[tuple[Path, int]]) -> None:
    """See that there is room for so many bytes in each of these folders, which may share a disk.

    Raises:
        DownloadError: when there is not.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needs:
        there = folder.absolute()
        while not there.exists() and there != there.parent:
            there = there.parent
        disk = there.stat().st_dev
        disks[disk] = (there, disks.get(disk, (there, 0))[1] + size)
    for there, size in disks.values():
        free = shutil.disk_usage(there).free
        if free < size + SPARE_BYTES:
            raise DownloadError(
                f"There is no room: {size / 1e6:,.0f} MB are needed on the disk of '{there}', {free / 1e6:,.0f} MB are "
                "free"
            )


class _Try:
    """One attempt at one address."""

    def __init__(self, address: str, expected: int | None, part: Partial) -> None:
        self._address, self._expected, self._part = address, expected, part

    def run(self, follower: Follower, cancelled: Callable[[], bool]) -> None:
        have, source = self._kept()
        if source.total is not None and have == source.total:
            follower.received(have, source.total)
            return
        asked = {"Range": f"bytes={have}-", "If-Range": source.validator} if have else {}
        answer = self._ask(asked, cancelled)
        start, total = _range(answer)
        fits = answer.status == 206 and start == have and total in (None, source.total)
        if answer.status != 200 and not fits:  # the file has become another one
            answer = self._ask({}, cancelled)
            start, total = _range(answer)
            if answer.status != 200:
                raise DownloadError(f"The server answers with status {answer.status} to a plain question")
        total = total or source.total if fits else total
        if None not in (total, self._expected) and total != self._expected:
            raise OtherFile(
                f"The file has {total:,} bytes there, and {self._expected:,} in the catalogue: it has been replaced"
            )
        total = total or self._expected
        check_room([(self._part.folder, (total or 0) - start)])
        if not fits:
            self._part.begin(Source(self._address, _validator(answer), total))
        self._receive(answer, total, follower, cancelled)
        answer.close()  # not where it was cancelled: that would wait for what is being read

    def _ask(self, headers: dict[str, str], cancelled: Callable[[], bool]) -> HTTPResponse:
        return result_of(aside(bound(ask, self._address, headers), "download"), cancelled)

    def _kept(self) -> tuple[int, Source]:
        """How much is there of the same file, and can be gone on with."""
        have, source = self._part.bytes, self._part.source
        right = source.address == self._address and (self._expected is None or source.total in (None, self._expected))
        whole = source.total is not None and have == source.total
        return (have, source) if right and (source.validator or whole) else (0, Source())

    def _receive(
        self, answer: HTTPResponse, total: int | None, follower: Follower, cancelled: Callable[[], bool]
    ) -> None:
        done = self._part.bytes
        try:
            with self._part.file.open("ab") as file:
                follower.received(done, total)
                for piece in pieces(answer, cancelled):
                    done += len(piece)
                    if done > (total or MOST_BYTES):
                        self._part.discard()
                        raise DownloadError(f"The server sends more than the {total or MOST_BYTES:,} bytes of the file")
                    file.write(piece)
                    file.flush()
                    follower.received(done, total)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._part.discard()
            raise DownloadError(f"The download cannot be written: {error.strerror or error}") from None
        if total is not None and done < total:
            raise Interrupted(f"The connection ended after {done:,} of {total:,} bytes")


def _range(answer: HTTPResponse) -> tuple[int, int | None]:
    """Where in the file the answer's body begins, and how many bytes the whole file has."""
    if answer.status == 206:
        found = re.fullmatch(
            r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.headers.get("Content-Range", "").strip()
        )
        return (int(found[1]), None if found[2] == "*" else int(found[2])) if found else (0, None)
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None


def _validator(answer: HTTPResponse) -> str:
    """What If-Range takes: a strong ETag, else the date."""
    tag = answer.headers.get("ETag", "").strip()
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "").strip()
