"""Lines of a manifest: what one says, and how they are read and written."""

# os.path answers also about names for which pathlib raises errors, such as too long ones.

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, NamedTuple

from flareseg import __version__
from flareseg.io.atomic import make_folder
from flareseg.text import as_json

NAME = "flareseg_manifest.jsonl"
STARTED, DONE, TAKEN, FAILED = "started", "done", "taken", "failed"
"""`TAKEN`: a label map that was there before the manifest, and is kept."""
LARGEST_BYTES, LONGEST_LINE_BYTES = 2**36, 2**26
"""What is larger is no manifest."""
LINES_AT_ONCE = 256


class Place(NamedTuple):
    """Where a line lies: in which file, from which byte to which, and whether it ends there."""

    path: Path
    begin: int
    end: int
    whole: bool = True


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
        serial: the line is later than those about the same results with a lower one; early versions gave none.
        place: where it was read; no part of the line.
    """

    status: str
    case: str
    source: dict[str, Any]
    order: dict[str, Any]
    outputs: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]] = field(default_factory=list)
    message: str = ""
    flareseg: str = __version__
    serial: int | None = None
    place: Place | None = field(default=None, compare=False)


def records(path: Path, from_: tuple[tuple[int, int], int] | None = None) -> Iterator[tuple[Record, tuple[int, int]]]:
    """The lines of a manifest with what tells the file from another of its name; none where it cannot be read.

    Args:
        path: of the file.
        from_: what told the file from another, and from which byte to read on. If it is another one now, or shorter,
            it is read from its beginning.
    """
    try:
        # A pipe under this name would be read for ever.
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            identity = about.st_dev, about.st_ino
            if from_ and from_[0] == identity and from_[1] <= about.st_size:
                file.seek(from_[1])
            for line, place in _lines(file, path):
                if record := _record(line, place):
                    yield record, identity
    except OSError:
        return


def line_at(place: Place) -> Record | None:
    """The line that lies there; None where it does not any more."""
    try:
        with place.path.open("rb") as file:
            file.seek(place.begin)
            return _record(file.read(place.end - place.begin), place)
    except OSError:
        return None


def append_line(path: Path, record: Record) -> Place:
    """Append a line, which is on the disk afterwards; where it lies. Only one run may append to a file.

    Raises:
        OSError: when it cannot be written.
    """
    about = {one.name: getattr(record, one.name) for one in fields(record) if one.name != "place"}
    line = {"flareseg_manifest": 1, "time": datetime.now(timezone.utc).isoformat(timespec="seconds"), **about}
    return _append(path, (as_json(line) + "\n").encode("utf-8"))


def take_in(part: Path, path: Path) -> None:
    """Move the lines of `part` to the end of `path`. If this is stopped half-way, it can be done again.

    Raises:
        OSError: when it cannot be done.
    """
    with part.open("rb") as file:
        block: list[bytes] = []
        for line, place in _lines(file, part):
            if _record(line, place):
                block.append(line.rstrip(b"\n") + b"\n")
            if len(block) >= LINES_AT_ONCE:
                _append(path, b"".join(block))
                block.clear()
        if block:
            _append(path, b"".join(block))
    part.unlink(missing_ok=True)


def _append(path: Path, data: bytes) -> Place:
    make_folder(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        # What a killed run left of a line ends here; a blank line between two lines does no harm.
        size = os.fstat(handle).st_size
        if size and _last_byte(handle, size) != b"\n":
            data = b"\n" + data
        if os.write(handle, data) < len(data):  # in one call, so that no reader finds half a line
            raise OSError(None, "the disk is full")
        os.fsync(handle)
        end = os.lseek(handle, 0, os.SEEK_CUR)
        return Place(path, end - len(data), end)
    finally:
        os.close(handle)


def _last_byte(handle: int, size: int) -> bytes:
    os.lseek(handle, size - 1, os.SEEK_SET)
    return os.read(handle, 1)


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[bytes, Place]]:
    begin = file.tell()
    while line := file.readline(LONGEST_LINE_BYTES):
        end = begin + len(line)
        yield line, Place(path, begin, end, line.endswith(b"\n"))
        begin = end


def _record(line: bytes, place: Place) -> Record | None:
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
    if not all(isinstance(about, dict) for about in (*data["outputs"].values(), *data["rows"])):
        return None
    serial = data.get("serial")
    return Record(
        **{name: data[name] for name in kinds},
        message=str(data.get("message", "")),
        flareseg=str(data.get("flareseg", "")),
        serial=serial if isinstance(serial, int) else None,
        place=place,
    )
