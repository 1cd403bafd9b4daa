"""Changes to what models are made of: JSON, safetensors, zips."""

from __future__ import annotations

import copy
import json
import re
import struct
import warnings
import zipfile
from io import BytesIO
from random import Random
from typing import Any

from mutate import WORDS

warnings.filterwarnings("ignore", "Duplicate name")  # wanted in a zip
MOST_BYTES = 10**6
"""Roughly, of what a change makes."""
JSON_VALUES = [
    *(
        0,
        -1,
        1,
        2,
        3,
        255,
        256,
        2**31,
        2**32,
        2**63,
        10**9,
        10**17,
        10**18,
        10**400,
        -(10**400),
        0.5,
        1e300,
        -1e300,
        1e-300,
    ),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        True,
        False,
        None,
        "",
        "abc",
        "1",
        "1,5",
        "\n",
        "a\nb",
        "\x1b[2J",
        "\ud800",
    ),
    *(
        "x" * 5000,
        [],
        {},
        [[]],
        [1],
        [0, 0, 0],
        [1, 1, 1],
        [10**9] * 3,
        [[3, 3, 3]] * 3,
        {"a": 1},
        [None],
        "../x",
        "/dev/zero",
    ),
]


def change_json(rng: Random, data: bytes) -> bytes:
    """One value of a JSON text is another, lost, renamed, doubled, or deep without end."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        before = json.dumps(content)
        places = list(_places(content))
        if not places:
            break
        inside, key = rng.choice(places)
        kind = rng.choice(("value", "value", "value", "near", "near", "lose", "rename", "longer", "deep"))
        if kind == "value":
            inside[key] = copy.deepcopy(rng.choice(JSON_VALUES))
        elif kind == "near":
            inside[key] = _near(rng, inside[key])
        elif kind == "lose":
            del inside[key]
        elif kind == "rename" and isinstance(inside, dict):
            inside[rng.choice([str(word) for word in WORDS])] = inside.pop(key)
        elif kind == "longer":
            size = 1 + 4 * MOST_BYTES - _size(inside[key], 4 * MOST_BYTES)
            inside[key] = [inside[key]] * min(rng.choice((2, 17, 300, 20_000)), 1 + MOST_BYTES // size)
        else:
            inside[key] = "\0deep"
        if _size(content, 4 * MOST_BYTES) < 0:  # a part that is there many times may have grown
            content = json.loads(before)
            break
    text = json.dumps(content)
    opening = rng.choice(("[", '{"a":', '{"coarse":', '{"plan":'))
    depth = rng.choice((50, 500, 5000, 100_000))
    close = ("]" if opening == "[" else "}") * depth
    text = text.replace('"\\u0000deep"', opening * depth + "0" + (close if rng.random() < 0.8 else ""), 2)
    if rng.random() < 0.05:
        text = re.sub(r"\d+", lambda _: rng.choice(("1e999", "9" * 5000, "-0", "1E400", "Infinity")), text, count=1)
    return text.encode("utf-8", rng.choice(("surrogatepass", "replace")))


def _near(rng: Random, value: Any) -> Any:
    """Something of the same kind, so that a reader goes on with it."""
    if len(json.dumps(value)) > MOST_BYTES // 500:
        return [value]
    if isinstance(value, bool) or value is None:
        return rng.choice((True, False, None, 0))
    if isinstance(value, int):
        return rng.choice(
            (value + 1, value - 1, -value, value * 2, value * 1000, float(value % 10**9) + 0.5, str(value), [value])
        )
    if isinstance(value, float):
        return rng.choice(
            (
                value * 2,
                -value,
                value * 1e30,
                value / 1e30,
                round(value) if value - value == 0 else 0,
                str(value),
                [value],
            )
        )
    if isinstance(value, str):
        return rng.choice((value + value, value[:-1], value.upper(), value + "\n", "é" + value, [value], value * 500))
    if isinstance(value, list):
        return rng.choice(
            (value * 2, value[:-1], value[::-1], [value] * 3, value * 400, {str(n): v for n, v in enumerate(value)})
        )
    return rng.choice(
        (list(value), [list(pair) for pair in value.items()], {}, value | {"other": 1}, dict.fromkeys(value))
    )


def _size(content: Any, left: int) -> int:
    """What is left of `left` bytes; less than 0 at once where there are more."""
    left -= len(content) if isinstance(content, str) else 2
    parts = list(content.values()) if isinstance(content, dict) else content if isinstance(content, list) else []
    for part in parts:
        if left < 0:
            break
        left = _size(part, left)
    return left


def _places(content: Any, depth: int = 0) -> Any:
    if depth > 30:
        return
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key], depth + 1)


def change_safetensors(rng: Random, data: bytes) -> bytes:
    """Another length of the header, or another header."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.3 or length > len(data):
        new = rng.choice((0, 1, length - 1, length + 1, 10**8, 2**31, 2**63, 2**64 - 1, len(data), len(data) - 8))
        return struct.pack("<Q", new % 2**64) + data[8:]
    header = change_json(rng, data[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def change_zip(rng: Random, data: bytes) -> bytes:
    """A member more, of an odd name or kind, or one that says of itself what is not so."""
    odd = [
        "../x",
        "/etc/x",
        "a/b/c/d",
        "model.json",
        "plans.json",
        "x\\y",
        "",
        "\n",
        "é",
        "x" * 3000,
        "fold_0/",
        "a\0b",
        ".",
    ]
    buffer = BytesIO(data)
    try:
        with zipfile.ZipFile(buffer, "a") as archive:
            for _ in range(rng.choice((1, 1, 3, 100))):
                info = zipfile.ZipInfo(rng.choice(odd))
                info.external_attr = rng.choice((0o644, 0o120777, 0o010644, 0o040755)) << 16
                archive.writestr(info, rng.choice((b"", b"x", bytes(2**18))), rng.choice((0, 8, 8, 12, 14)))
            archive.comment = rng.choice((b"", b"x" * 65_000, b"PK\x05\x06" * 30))
    except Exception:  # of a zip that was changed before; zipfile raises errors of many kinds
        return data
    changed = bytearray(buffer.getvalue())
    at = changed.rfind(b"PK\x01\x02")  # an entry of the directory: its flags, method, sizes, name length, offset
    for where, size in rng.choice(
        ([], [(8, 2)], [(10, 2)], [(20, 4)], [(24, 4)], [(28, 2)], [(42, 4)], [(24, 4), (20, 4)])
    ):
        value = rng.choice((0, 1, 9, 2**16 - 1, 2**31, 2**32 - 1)) % 2 ** (8 * size)
        changed[at + where : at + where + size] = value.to_bytes(size, "little")
    return bytes(changed)
