"""A download that may stop half-way: kept in the user's cache until it is whole, and has been used.

While a process works on it, it lies under a name of that process, so that two never write into one file. Whatever ends
the process, the download gets its own name back: by the process itself, or, where it was killed, by the next one.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flareseg.errors import OutputError
from flareseg.io.atomic import make_folder
from flareseg.system.interrupt import on_abandon
from flareseg.system.leftovers import aside_name, remove_leftovers
from flareseg.system.user_folders import user_cache_folder

ENDING = ".part"
KEPT_S = 30 * 24 * 3600
"""A download that nobody went on with for so long is removed by the next one."""


@dataclass(frozen=True)
class Source:
    """Where the bytes come from.

    Attributes:
        validator: what the server calls this very file, its ETag or date; "" where it says neither.
        total: bytes of the whole file; None where unknown.
    """

    address: str = ""
    validator: str = ""
    total: int | None = None


@dataclass(frozen=True)
class Partial:
    """A download in its folder, under the name of this process."""

    folder: Path
    name: str

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.zip"

    @property
    def bytes(self) -> int:
        try:
            return self.file.stat().st_size
        except OSError:
            return 0

    @property
    def source(self) -> Source:
        """As noted; an empty one where nothing is, or the note is damaged."""
        try:
            data = json.loads(self._note.read_text(encoding="utf-8"))
            total = data["total"]
            return Source(str(data["address"]), str(data["validator"]), total if type(total) is int else None)
        except (OSError, ValueError, KeyError, TypeError):
            return Source()

    def begin(self, source: Source) -> None:
        """Begin anew: nothing of what is there is of this file."""
        self.folder.mkdir(exist_ok=True)  # it may have been discarded
        self.file.write_bytes(b"")
        text = json.dumps({"address": source.address, "validator": source.validator, "total": source.total})
        self._note.write_text(text, encoding="utf-8")

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _note(self) -> Path:
        return self.folder / "source.json"


@contextmanager
def kept_download(name: str) -> Iterator[Partial]:
    """The download called `name`, with what is there of it already; afterwards it is kept unless it was discarded.

    Raises:
        OutputError: when the user's cache cannot be written.
        NoHome: when the account has none.
    """
    place = user_cache_folder() / "downloads"
    kept = place / f"{name}{ENDING}"
    own = place / aside_name(kept.name)

    def put_back() -> None:
        with suppress(OSError):
            if Partial(own, name).bytes and not kept.exists():
                own.rename(kept)
            else:  # nothing has come, or another process has left as much meanwhile
                shutil.rmtree(own, ignore_errors=True)

    try:
        make_folder(place)
        remove_leftovers(place)
        _remove_old(place)
        try:
            kept.rename(own)
        except FileNotFoundError:
            own.mkdir()
    except OSError as error:
        raise OutputError(f"The folder '{place}' cannot be written: {error.strerror or error}.") from None
    with on_abandon(put_back):
        try:
            yield Partial(own, name)
        finally:
            put_back()


def _remove_old(place: Path) -> None:
    for folder in place.glob(f"*{ENDING}"):
        with suppress(OSError):
            if time.time() - max(file.stat().st_mtime for file in (folder, *folder.iterdir())) > KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
