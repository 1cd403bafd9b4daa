"""What the engine says, a JSON object a line, checked: an event has all that belongs to it, of the right types.

A line is only text until then: another program that the engine runs may print anything, and a crash cuts lines short.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from flareseg.progress import AVAILABLE, DEVICES, DONE, ERROR, PREVIEW, PROGRESS, STAGE
from flareseg.results.measure import COLUMNS

Event = dict[str, Any]
LONGEST_TEXT = 1000
MOST_ROWS = 20_000
LONG_LINE, HEAD = 2**18, 2**10
"""Bytes."""
COUNTED = ("bytes", "total", "seconds_left", "number", "count")
"""Of a download: bytes that are there and that there will be, seconds, which file of how many; where they are known."""
OF_PRESET = {"name": str, "title": str, "purpose": str, "organs": list, "lesions": list, "installed": list}
OF_MODEL = {
    **dict.fromkeys(("name", "title", "purpose", "licence", "terms", "citation", "page", "accuracy", "notes"), str),
    **dict.fromkeys(("authors", "tried"), str),
    **dict.fromkeys(("structures", "addresses", "installed"), list),
}
MOST_OFFERS, MOST_WORDS = 500, 300
NOT_UNDERSTOOD = "What the engine says of its result is damaged."


def parse_event(line: bytes) -> Event | None:
    """The event in a line, with these entries besides "event" and "case"; None where there is none:

    stage, progress: "stage" and "fraction" (0 to 1), or only "message"; of a download also those of `COUNTED`;
    preview: "output", a path; done: "output" and "measurements", rows as of the engine's results/measure.py, or
        "model", the name of one that was installed;
    error: "message"; devices: "devices", each with "name" and "description";
    available: "models" and "presets", of which each row has the `OF_MODEL` or `OF_PRESET` of the engine's public/.
    """
    if len(line) > LONG_LINE and not (b'"event"' in line[:HEAD] and b'"done"' in line[:HEAD]):
        return None  # only a result is long; to parse anything else that is would keep Python's lock for long
    try:
        found = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    read = _KINDS.get(str(found.get("event"))) if isinstance(found, dict) else None
    entries = read(found) if read else None
    if entries is None:
        return None
    case = found.get("case")
    return {"event": found["event"], "case": case if isinstance(case, str) else "", **entries}


def one_line(text: str) -> str:
    """Text for one line of a window, bounded."""
    return " ".join(text[: 2 * LONGEST_TEXT].split())[:LONGEST_TEXT]


def _progress(found: Event) -> Event | None:
    stage, fraction = found.get("stage"), _number(found.get("fraction"))
    if isinstance(stage, str) and fraction is not None:
        counted = {key: number for key in COUNTED if (number := _number(found.get(key))) is not None}
        return {"stage": one_line(stage), "fraction": min(max(fraction, 0.0), 1.0), **counted}
    return _message(found) if "fraction" not in found else None


def _message(found: Event) -> Event | None:
    text = found.get("message")
    return {"message": one_line(text)} if isinstance(text, str) else None


def _preview(found: Event) -> Event | None:
    return {"output": found["output"]} if isinstance(found.get("output"), str) else None


def _done(found: Event) -> Event:
    if isinstance(found.get("model"), str) and isinstance(found.get("output"), str):
        return {"output": found["output"], "model": one_line(found["model"])}
    rows = found.get("measurements")
    fits = isinstance(rows, list) and len(rows) <= MOST_ROWS and all(_is_row(row) for row in rows)
    if not fits or not isinstance(found.get("output"), str):
        return {"event": ERROR, "message": NOT_UNDERSTOOD}
    return {"output": found["output"], "measurements": rows}


def _devices(found: Event) -> Event | None:
    devices = found.get("devices")
    texts = ("name", "description")
    if not isinstance(devices, list) or not all(isinstance(d, dict) for d in devices):
        return None
    if not all(isinstance(device.get(key), str) for device in devices for key in texts):
        return None
    return {"devices": [{key: one_line(device[key]) for key in texts} for device in devices[:100]]}


def _available(found: Event) -> Event | None:
    models, presets = _offers(found.get("models"), OF_MODEL), _offers(found.get("presets"), OF_PRESET)
    if models is None or presets is None:
        return None
    for model, row in zip(models, found["models"], strict=True):
        model["bytes"] = _number(row.get("bytes"))
    return {"models": models, "presets": presets}


def _offers(rows: object, kinds: Mapping[str, type]) -> list[Event] | None:
    if not isinstance(rows, list) or len(rows) > MOST_OFFERS:
        return None
    offers = [_offer(row, kinds) for row in rows]
    return None if None in offers else [offer for offer in offers if offer is not None]


def _offer(row: object, kinds: Mapping[str, type]) -> Event | None:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), kind) for key, kind in kinds.items()):
        return None
    lists = [row[key] for key, kind in kinds.items() if kind is list]
    if not all(len(words) <= MOST_WORDS and all(isinstance(word, str) for word in words) for words in lists):
        return None
    texts: Event = {key: one_line(row[key]) for key, kind in kinds.items() if kind is str}
    return texts | {key: [one_line(word) for word in row[key]] for key, kind in kinds.items() if kind is list}


_KINDS: dict[str, Callable[[Event], Event | None]] = {
    STAGE: _progress,
    PROGRESS: _progress,
    PREVIEW: _preview,
    DONE: _done,
    ERROR: lambda found: _message(found) or {"message": NOT_UNDERSTOOD},
    DEVICES: _devices,
    AVAILABLE: _available,
}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and set(row) == set(COLUMNS) and all(_fits(name, value) for name, value in row.items())


def _fits(column: str, value: object) -> bool:
    if column in ("case", "model", "structure"):
        return isinstance(value, str)
    if column == "touches_border":
        return isinstance(value, bool)
    if column in ("value", "voxels", "volume_ml"):
        return _number(value) is not None
    if value is None:
        return True
    if column == "host":
        return isinstance(value, str)
    if column.endswith("_xyz_mm"):
        return isinstance(value, list) and len(value) == 3 and all(_number(mm) is not None for mm in value)
    if column == "lesion":
        return isinstance(value, int) and _number(value) is not None
    return _number(value) is not None
