"""Changes to DICOM's data elements, in files that state every value representation (explicit, little endian)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from random import Random

from mutate import BITS, FLOATS, WORDS, some_file
from tree import Tree

LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV")
UNDEFINED = 2**32 - 1
KINDS = [
    b"DS",
    b"IS",
    b"US",
    b"SS",
    b"UL",
    b"FD",
    b"FL",
    b"CS",
    b"LO",
    b"UI",
    b"UN",
    b"OW",
    b"SQ",
    b"AT",
    b"PN",
    b"??",
    b"\0\0",
]
TEXTS = [
    "1,000000",
    "abc",
    "1\\2",
    "0",
    "-1",
    "1e300",
    "-1e300",
    "1e-300",
    "nan",
    "inf",
    "",
    " ",
    "1.5",
    "65536",
    "\\\\",
    "9" * 20,
]
ADDED = [
    *(
        (0x0028, 0x0120, b"US"),
        (0x0028, 0x0121, b"SS"),
        (0x0028, 0x0006, b"US"),
        (0x0028, 0x3000, b"SQ"),
        (0x0018, 0x1120, b"DS"),
    ),
    *(
        (0x0028, 0x0008, b"IS"),
        (0x0028, 0x0002, b"US"),
        (0x7FE0, 0x0008, b"OF"),
        (0x5200, 0x9230, b"SQ"),
        (0x0008, 0x0005, b"CS"),
    ),
    *(
        (0x0020, 0x0100, b"IS"),
        (0x0009, 0x0010, b"LO"),
        (0x0028, 0x1053, b"DS"),
        (0x0020, 0x0032, b"DS"),
        (0x7FE0, 0x0010, b"OW"),
    ),
]
SYNTAXES = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.5",
]
SYNTAXES += [
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.3.4",
    "",
    "abc",
    "1.2.840.10008.1.2.4.102",
]


@dataclass
class Element:
    group: int
    element: int
    kind: bytes
    value: bytes
    items: list[list[Element]] = field(default_factory=list)

    def packed(self) -> bytes:
        value = self.value
        if self.items:
            value = b"".join(
                struct.pack("<2HI", 0xFFFE, 0xE000, len(item)) + item for item in (join(part) for part in self.items)
            )
        head = struct.pack("<2H", self.group, self.element) + self.kind
        if self.kind in LONG:
            # encapsulated pixels end with a delimiter of their own
            length = UNDEFINED if self.value[:4] == b"\xfe\xff\x00\xe0" and not self.items else len(value)
            return head + struct.pack("<HI", 0, length) + value
        return head + struct.pack("<H", len(value) % 65536) + value


def split(data: bytes) -> list[Element]:
    """The elements of a data set; what cannot be told apart is one last element."""
    found: list[Element] = []
    at = 0
    while at + 8 <= len(data):
        group, element, kind = struct.unpack_from("<2H2s", data, at)
        if kind in LONG and at + 12 <= len(data):
            (length,), start = struct.unpack_from("<I", data, at + 8), at + 12
        else:
            (length,), start = struct.unpack_from("<H", data, at + 6), at + 8
        stop = len(data) if length == UNDEFINED else start + length
        value = data[start:stop]
        items = _items(value) if kind == b"SQ" and length != UNDEFINED else []
        found.append(Element(group, element, kind, value, items))
        at = stop
    return found


def _items(value: bytes) -> list[list[Element]]:
    items, at = [], 0
    while at + 8 <= len(value):
        length = struct.unpack_from("<I", value, at + 4)[0]
        items.append(split(value[at + 8 : at + 8 + length]))
        at += 8 + length
    return items


def join(elements: list[Element]) -> bytes:
    return b"".join(element.packed() for element in elements)


def change_elements(rng: Random, tree: Tree) -> str:
    """One element of one slice, or of all, is another; or a slice moves, is doubled, or lost."""
    if rng.random() < 0.1:
        return _change_slices(rng, tree)
    some = some_file(rng, tree)
    paths = tree.plain() if rng.random() < 0.4 else [some] if some else []
    state = rng.getstate()
    done = "nothing"
    for path in paths:
        data = tree.bytes_of(path)
        if data[128:132] != b"DICM":
            continue
        rng.setstate(state)  # the same change in each
        elements = split(data[132:])
        done = _change(rng, elements)
        tree.files[path] = data[:132] + join(elements)
    return f"{done} in {len(paths)} files"


def _change_slices(rng: Random, tree: Tree) -> str:
    plain = tree.plain()
    if not plain:
        return "nothing"
    path = rng.choice(plain)
    kind = rng.choice(("lost", "doubled", "thousand"))
    if kind == "lost":
        del tree.files[path]
    else:
        for number in range(1 if kind == "doubled" else 300):
            tree.files[f"{path}_{number}"] = tree.bytes_of(path)
    return f"slice {path} {kind}"


def _change(rng: Random, elements: list[Element]) -> str:
    lists = list(_lists(elements))
    inside = rng.choice(lists)
    if not inside:
        return "nothing"
    one = rng.choice(inside)
    name = f"({one.group:04x},{one.element:04x}) {one.kind.decode('latin-1')}"
    kind = rng.choice(
        ("value", "value", "value", "value", "lose", "double", "kind", "raw", "add", "syntax", "sequence", "pixels")
    )
    if kind == "value":
        one.items, one.value = [], _value(rng, one.kind)
        name += f" = {one.value[:40]!r}"
    elif kind == "lose":
        inside.remove(one)
    elif kind == "double":
        inside.insert(inside.index(one), one)
    elif kind == "kind":
        one.kind = rng.choice(KINDS)
        name += f" as {one.kind!r}"
    elif kind == "raw":
        one.items, one.value = [], rng.choice((b"", b"\xff" * 8, rng.randbytes(7), b"\0" * 70_000))
    elif kind == "add":
        group, element, vr = rng.choice(ADDED)
        place = rng.choice((0, len(inside) - 1, len(inside)))
        inside.insert(place, Element(group, element, vr, _value(rng, vr)))
        name = f"({group:04x},{element:04x})"
    elif kind == "syntax":
        for element in elements:
            if (element.group, element.element) == (2, 0x10):
                new = rng.choice(SYNTAXES)
                element.value = new.encode() + b"\0" * (len(new) % 2)
                name = f"syntax {new}"
    elif kind == "sequence":
        depth = rng.choice((1, 10, 500, 3000))
        inner: bytes = b""
        for _ in range(depth):
            head = struct.pack("<2H2sHI", 0x0008, 0x1140, b"SQ", 0, UNDEFINED) + struct.pack(
                "<2HI", 0xFFFE, 0xE000, UNDEFINED
            )
            inner = head + inner
        inside.insert(rng.randrange(len(inside) + 1), Element(0x0008, 0x1115, b"UN", b""))
        one.items, one.kind, one.value = [], b"SQ", b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner
        name = f"sequences {depth} deep"
    else:
        _change_pixels(rng, elements)
        name = "pixels"
    return f"{kind} {name}"


def _change_pixels(rng: Random, elements: list[Element]) -> None:
    """The size that a compressed image itself states, or the length of the pixels."""
    pixels = elements[-1]
    data = bytearray(pixels.value)
    size = data.find(b"\xff\x51")  # SIZ of JPEG 2000
    if size > 0 and rng.random() < 0.7:
        where = size + rng.choice((6, 10, 22, 26, 38))
        data[where : where + 4] = (rng.choice(BITS) % 2**32).to_bytes(4, "big")
        pixels.value = bytes(data)
    else:
        pixels.value = rng.choice(
            (bytes(data[: len(data) // 2]), bytes(data) * 3, b"", bytes(data) + b"\0", bytes(data[:-1]))
        )


def _value(rng: Random, kind: bytes) -> bytes:
    if kind in (b"US", b"SS"):
        return b"".join((rng.choice(BITS) % 65536).to_bytes(2, "little") for _ in range(rng.choice((1, 1, 1, 2, 0))))
    if kind in (b"UL", b"SL", b"AT"):
        return (rng.choice(BITS) % 2**32).to_bytes(4, "little") * rng.choice((1, 1, 2, 0))
    if kind in (b"FD", b"OD"):
        return struct.pack("<d", rng.choice(FLOATS)) * rng.choice((1, 1, 2, 3))
    text = rng.choice(TEXTS if rng.random() < 0.7 else [word for word in WORDS if len(word) < 60_000])
    if kind == b"DS" and rng.random() < 0.4:
        text = "\\".join(rng.choice(TEXTS) for _ in range(rng.choice((2, 3, 6))))
    data = text.encode("utf-8", "surrogatepass")
    return data + b" " * (len(data) % 2)


def _lists(elements: list[Element]) -> list[list[Element]]:
    """The data set, and those within its sequences."""
    found = [elements]
    for element in elements:
        for item in element.items:
            found += _lists(item)
    return found
