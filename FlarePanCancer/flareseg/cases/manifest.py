"""The manifest beside results: of each case what it was read from, how it was made, and what was written.

One JSON object a line, only ever appended: a killed run, or two runs at once, lose at most the line that is being
written, and a line that is cut off is passed over. Of a result file the last line counts.
"""

# os.path answers also about names for which pathlib raises errors, such as too long ones.
# ruff: noqa: PTH100, PTH112, PTH113, PTH116, PTH118

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flareseg import __version__
from flareseg.errors import OutputError
from flareseg.io.atomic import make_folder
from flareseg.text import as_json, shown

NAME = "flareseg_manifest.jsonl"
STARTED, DONE, TAKEN, FAILED = "started", "done", "taken", "failed"
"""`TAKEN`: a label map that was there before the manifest, and is kept."""
LARGEST_BYTES = 2**30
_PEEK_BYTES = 2**16


@dataclass(frozen=True)
class Record:
    """One line of a manifest.

    Attributes:
        status: started, done, taken or failed.
        case: its name.
        source: what it was read from, as `fingerprint` gives it.
        order: how it was made: model, options.
        outputs: of each file that was written, relative to the manifest, its size and SHA-256; empty before that.
        rows: measurements.
        message: why it failed.
        flareseg: version that wrote the line.
    """

    status: str
    case: str
    source: dict[str, Any]
    order: dict[str, Any]
    outputs: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]] = field(default_factory=list)
    message: str = ""
    flareseg: str = __version__


class Manifest:
    """The manifest in the folder `folder`, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._last: dict[str, Record] = {}
        self._before: dict[str, Record | None] = {}
        self._lock = threading.RLock()  # results may be written beside the next case
        self.reload()

    def reload(self) -> None:
        """Read it again: another run may have written to it."""
        with self._lock:
            self._last, self._before = {}, {}
            for record in _records(self.path):
                self._remember(record)

    def key_of(self, output: Path) -> str:
        """What a result is called in the manifest."""
        try:
            return Path(os.path.relpath(os.path.abspath(output), os.path.abspath(self.path.parent))).as_posix()
        except ValueError:  # another drive of Windows
            return os.path.abspath(output)

    def last_of(self, output: Path) -> Record | None:
        """The last line about a result; None where there is none, or its case failed."""
        return self._last.get(self.key_of(output))

    def append(self, record: Record) -> None:
        """Write a line, and see that it is on the disk.

        Raises:
            OutputError: when it cannot be written.
        """
        with self._lock:
            self._write(record)
            self._remember(record)

    def _write(self, record: Record) -> None:
        line = {"flareseg_manifest": 1, "time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        data = (as_json(line | vars(record)) + "\n").encode("utf-8")
        try:
            make_folder(self.path.parent)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            try:
                # What a killed run left of a line ends here; a blank line between two lines does no harm.
                size = os.fstat(handle).st_size
                if size and _last_byte(handle, size) != b"\n":
                    data = b"\n" + data
                # One call, so that the lines of two runs do not mix.
                if os.write(handle, data) < len(data):
                    raise OSError(None, "the disk is full")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise OutputError(f"'{shown(self.path)}' cannot be written: {error.strerror or error}.") from None

    def _remember(self, record: Record) -> None:
        for name in record.outputs:
            if record.status == FAILED:  # it wrote nothing: what was there is what it was
                before = self._before.get(name)
                self._last.pop(name, None)
                if before:
                    self._last[name] = before
                continue
            if record.status == STARTED:
                self._before[name] = self._last.get(name)
            self._last[name] = record


def listed_results(folder: Path) -> frozenset[str]:
    """The names of files in `folder` that its manifest says flareseg wrote; none without a manifest."""
    return frozenset(name for record in _records(folder / NAME) if record.status != FAILED for name in record.outputs)


def last_by_case(folder: Path) -> dict[str, Record]:
    """The last line about each case in the manifest of `folder`, by its name; empty without a manifest."""
    return {record.case: record for record in _records(folder / NAME)}


def fingerprint(source: Path, others: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The fingerprint of an input: path, size, date, and a checksum of both ends of the file.

    Args:
        source: a file, or a DICOM folder, of which the names, sizes and dates of all files count.
        others: further files that belong to it, such as the data of a detached header.

    Raises:
        OSError: when it cannot be read.
    """
    result: dict[str, Any] = {"path": os.path.realpath(source)}
    if os.path.isdir(source):
        listing = hashlib.sha256()
        size = 0
        for name, about in _listing(source):
            listing.update(os.fsencode(name) + f"\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
            size += about.st_size
        return result | {"size": size, "listing": listing.hexdigest()}
    about = os.stat(source)
    ends = hashlib.sha256()
    for file in filter(os.path.isfile, (source, *others)):  # a pipe would wait for ever
        ends.update(_ends(file))
    return result | {"size": about.st_size, "mtime_ns": about.st_mtime_ns, "ends": ends.hexdigest()}


def checksum(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file.

    Raises:
        OSError: when it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


def _records(path: Path) -> Iterator[Record]:
    try:
        # A pipe under this name would be read for ever.
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return
        with path.open("rb") as file:
            for line in file:
                if record := _record(line):
                    yield record
    except OSError:
        return


def _record(line: bytes) -> Record | None:
    """None for what is no whole line of a manifest."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or "flareseg_manifest" not in data:
        return None
    kinds = {"status": str, "case": str, "source": dict, "order": dict, "outputs": dict, "rows": list}
    if not all(isinstance(data.get(name), kind) for name, kind in kinds.items()):
        return None
    if not all(isinstance(about, dict) for about in data["outputs"].values()):
        return None
    texts: dict[str, Any] = {name: str(data.get(name, "")) for name in ("message", "flareseg")}
    return Record(**{name: data[name] for name in kinds}, **texts)


def _last_byte(handle: int, size: int) -> bytes:
    os.lseek(handle, size - 1, os.SEEK_SET)
    return os.read(handle, 1)


def _ends(file: Path) -> bytes:
    """Size, date, first and last bytes: two CTs of one size and date, as archives give them, differ there."""
    about = os.stat(file)
    with file.open("rb") as stream:
        first = stream.read(_PEEK_BYTES)
        stream.seek(max(0, about.st_size - _PEEK_BYTES))
        return first + stream.read(_PEEK_BYTES) + f"\0{about.st_size}\0{about.st_mtime_ns}\n".encode()


def _listing(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Every file in and below `folder`, by its relative name; links are followed, but not in circles."""
    result, seen = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders.sort()
        for name in files:
            full = os.path.join(place, name)
            if os.path.isfile(full):
                result.append((os.path.relpath(full, folder), os.stat(full)))
    return sorted(result, key=lambda pair: pair[0])
