"""Several runs in one folder of results, also of several machines: who works on which case, and who has died of it.

In a hidden folder beside the results every run has a file of its own, called after its process; it shows that the run
lives by giving it the present date now and then. A case belongs to the run whose claim, a file called after the case,
is there. A claim is made by a hard link of the run's own file, which of several at once only one can make, on NFS too;
then the folder is read: a claim counts if no other of a living run is there. The claim of a dead run is outnumbered by
that of the next, which removes it once its own counts: never before, as others may be about to take it over too.

A run is dead when its process has ended, where that can be looked up, and else when the date of its file stood still
for `DEAD_AFTER_S` by the clock of who keeps looking. So the clocks of the machines need not agree, and a server that
answers nobody for a while kills no run.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flareseg.io.atomic import make_folder
from flareseg.system.leftovers import owner_lives, temporary_name

FOLDER = ".flareseg_sharing"
ENDED = "ended"
"""How the name of a run's file begins once the run has ended and others have to care for what it holds."""
BEAT_EVERY_S, DEAD_AFTER_S = 15.0, 120.0
KEPT_S = 15.0
"""So long a run keeps the claim of a case that it has done: the others have read by then that it is."""
LOOKS_WITHIN_S = 30.0
"""Looks that are further apart see too little to know that nothing happened between them."""
_CLAIM = re.compile(r"claim-(?P<key>.+)-(?P<number>\d+)")
_LONGEST_FIRST_LINE = 4096
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV}
"""Of `link`, where a file system has no hard links, or no more of them for one file."""


class _Watched(NamedTuple):
    """The date of a run's file, since when it has stood still, and when it was looked at last; the latter two in
    seconds of our own clock."""

    beat: int
    since: float
    looked: float


class Sharing:
    """A run among those that share a folder of results.

    Nothing is written before the first claim. All methods may be called by several threads.

    Args:
        folder: of the results; it need not exist yet.

    Attributes:
        own: the run's own file, into which others look.
        seen: the names of the files of all runs, as they were in the folder after the last claim.
        took_over: whether the last claim was that of a dead run before.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.own = self.folder / temporary_name(".jsonl")
        self.seen: frozenset[str] = frozenset()
        self.took_over = False
        self._held: dict[str, Path] = {}
        self._done: deque[tuple[float, str]] = deque()
        self._beats: dict[str, _Watched] = {}
        self._lock = threading.RLock()
        self._ended: threading.Event | None = None

    def claim(self, key: str) -> str:
        """Make a case, or whatever `key` stands for, one's own; nothing where it is already.

        Returns:
            "" when it is ours now, else who has it: for the middle of a sentence.

        Raises:
            OSError: when nothing can be written there.
        """
        with self._lock:
            if key in self._held:
                return ""
            self._begin()
            self._drop_done()
            number = 0
            claim = self._path(key, number)
            if not self._make(claim):
                # Somebody has it, or had it and died.
                claims = self._claims(key)
                for other in claims.values():
                    if holder := self._living_holder(other):
                        return holder
                number = max(claims, default=-1) + 1
                claim = self._path(key, number)
                if not self._make(claim):
                    return "another run"
            dead = []
            there = list(self._entries())
            for other_number, other in self._claims(key, there).items():
                if other == claim:
                    continue
                holder = self._living_holder(other)
                if holder or other_number > number:
                    _remove(claim)
                    return holder or "another run"
                dead.append(other)
            for other in dead:
                _remove(other)
            self._held[key] = claim
            self.seen, self.took_over = frozenset(path.name for path in there if _is_run(path)), bool(dead)
            return ""

    def holds(self, key: str) -> bool:
        """Whether a claim of ours still counts: nobody took us for dead, e.g. while the computer slept.

        Raises:
            OSError: when that cannot be known.
        """
        with self._lock:
            claim = self._held.get(key)
            if claim is None:
                return False
            others = [other for other in self._claims(key).values() if other != claim]
            if claim.exists():
                return not any(self._living_holder(other) for other in others)
            del self._held[key]  # somebody has removed it; it may still be free
            return self.claim(key) == ""

    def drop(self, key: str) -> None:
        """Give a case back; nothing where it is not ours."""
        with self._lock:
            if claim := self._held.pop(key, None):
                _remove(claim)

    def done(self, key: str) -> None:
        """Give a case back that is done, once all others know."""
        with self._lock:
            if key in self._held:
                self._done.append((time.monotonic() + KEPT_S, key))

    def _drop_done(self) -> None:
        while self._done and self._done[0][0] < time.monotonic():
            self.drop(self._done.popleft()[1])

    def runs(self) -> list[Path]:
        """The files of all runs, ended ones too, as they are in the folder now; none where it cannot be read, so that
        nothing can be claimed there either."""
        try:
            return sorted(filter(_is_run, self._entries()))
        except OSError:
            return []

    def others_live(self) -> bool:
        """Whether another run is at work in the folder."""
        return any(path != self.own and self.lives(path.name) for path in self.runs())

    def lives(self, name: str) -> bool:
        """Whether the run with the file of that name is at work, as far as can be seen from here."""
        if name.startswith(ENDED):
            return False
        if name == self.own.name:
            return True
        if owner_lives(name) is False:
            return False
        try:
            beat = _seen_by_server(self.folder / name)
        except OSError:
            return False  # a run removes it last of all
        before, now = self._beats.get(name), time.monotonic()
        still = before is not None and before.beat == beat and now - before.looked < LOOKS_WITHIN_S
        since = before.since if before and still else now
        self._beats[name] = _Watched(beat, since, now)
        return now - since < DEAD_AFTER_S

    def bury(self) -> None:
        """Remove the claims of dead runs; raises as `claim`."""
        found = [(match["key"], path) for path in self._entries() if (match := _CLAIM.fullmatch(path.name))]
        for key in {key for key, claim in found if not self._living_holder(claim)}:
            if self.claim(key) == "":
                self.drop(key)

    def end(self, keep: bool) -> None:
        """Drop all claims, and leave the folder.

        Args:
            keep: the run's own file stays, for others to care for what it holds.
        """
        with self._lock:
            if self._ended is None:
                return
            self._ended.set()
            self._ended = None
            # The file first: who gets a claim then sees that a run has ended, and what it has done.
            with suppress(OSError):
                if keep:
                    self.own.replace(self.own.with_name(f"{ENDED}{self.own.name}"))
                else:
                    self.own.unlink(missing_ok=True)
            for key in list(self._held):
                self.drop(key)
            self._done.clear()
            with suppress(OSError):
                self.folder.rmdir()  # which only an empty one can be

    def _begin(self) -> None:
        if self._ended is not None:
            return
        line = json.dumps({"flareseg_run": self.own.name, "host": platform.node(), "pid": os.getpid()}) + "\n"
        for _ in range(100):  # another run that ends may remove the empty folder
            make_folder(self.folder)
            with suppress(FileNotFoundError):
                handle = os.open(self.own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                break
        else:
            raise FileNotFoundError(errno.ENOENT, "the folder is removed again and again", str(self.folder))
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(line)
        self._ended = threading.Event()
        threading.Thread(target=self._beat, args=(self._ended,), daemon=True, name="flareseg sharing").start()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT_EVERY_S):
            with suppress(OSError):
                os.utime(self.own)

    def _make(self, claim: Path) -> bool:
        """Make a claim, unless there is one of that name."""
        try:
            os.link(self.own, claim)
        except FileExistsError:
            try:
                # NFS may say so of a link that it has made, when its first answer was lost.
                return _holder(claim)[0] == self.own.name
            except FileNotFoundError:  # dropped meanwhile; whoever asks comes again
                return False
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LINKS:
                raise
            return self._make_without_links(claim)
        return True

    def _make_without_links(self, claim: Path) -> bool:
        with self.own.open("rb") as file:
            line = file.readline(_LONGEST_FIRST_LINE)
        try:
            handle = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as file:
            file.write(line)
        return True

    def _living_holder(self, claim: Path) -> str:
        """Who holds a claim, in words; "" where that run is dead, or has just dropped it."""
        try:
            name, words = _holder(claim)
        except FileNotFoundError:
            return ""
        # One without a name was being made where there are no links: its own date tells whether that goes on.
        return words if self.lives(name or claim.name) else ""

    def _claims(self, key: str, there: Iterable[Path] | None = None) -> dict[int, Path]:
        """The claims of a case by their number, of those paths, or of all that are in the folder now."""
        found = {}
        for path in self._entries() if there is None else there:
            match = _CLAIM.fullmatch(path.name)
            if match and match["key"] == key:
                found[int(match["number"])] = path
        return found

    def _entries(self) -> Iterator[Path]:
        try:
            with os.scandir(self.folder) as found:
                yield from [Path(entry.path) for entry in found]
        except FileNotFoundError:
            return

    def _path(self, key: str, number: int) -> Path:
        return self.folder / f"claim-{key}-{number}"


def _is_run(path: Path) -> bool:
    return path.name.endswith(".jsonl")


def _holder(claim: Path) -> tuple[str, str]:
    """The name of the file of the run that made a claim, and the run in words; "" where it says nothing."""
    with claim.open("rb") as file:
        line = file.readline(_LONGEST_FIRST_LINE)
    try:
        data = json.loads(line)
        return Path(str(data["flareseg_run"])).name, f"process {int(data['pid'])} on {data['host']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", "another run"


def _seen_by_server(path: Path) -> int:
    """The date of a file; it is opened, because a network drive answers that with the present one."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
