"""Changes to bytes and to trees of files, whatever they hold. Every change takes what it needs of chance from `rng`."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable
from random import Random

from tree import Special, Tree

Change = Callable[[Random, Tree], str]
"""Changes a tree in place; returns what was done."""
BITS = [0, 1, -1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [0.0, -0.0, -1.0, 1e-300, 1e30, 1e300, float("nan"), float("inf"), float("-inf"), 0.5, 4294967296.0]
WORDS = [
    *("0", "-1", "1", "65536", "2147483648", "4294967296", "9223372036854775808", "18446744073709551616", "1e300"),
    *(
        "-1e300",
        "1e-300",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "abc",
        "1,5",
        "1,000000",
        "0x10",
        "1e400",
        "",
        " ",
        "1 2",
        "1\\2",
    ),
    *("None", "true", "[]", "{}", "%d", "%s%s%s%n", "\x00", "\xe9", "é", "\u202e", "\ud800", "1_0", "٣", "--1", "+1"),
    *("../../../../etc/hostname", "/dev/zero", "/dev/stdin", "\\\\host\\share\\x", "//host/share/x", "C:\\x", "~", "."),
    *("9" * 400, "x" * 1000, "x" * 100_000, "1 " * 10_000, "\t", "a\rb", "a\nb", "\x1b[2J"),
]
DEVICES = [
    "/dev/zero",
    "/dev/null",
    "/dev/random",
    "/dev/full",
    "/proc/kmsg",
    "/proc/self/mem",
    "/proc/self/environ",
]


def flip(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[_place(rng, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: Random, data: bytes) -> bytes:
    start = _place(rng, len(data))
    length = min(rng.choice((1, 2, 4, 16, 200)), len(data) - start)
    filler = rng.choice((b"\0", b"\xff", b" ", b"\n", b"9", bytes([rng.randrange(256)])))
    return data[:start] + filler * length + data[start + length :]


def cut(rng: Random, data: bytes) -> bytes:
    return data[: _place(rng, len(data))]


def cut_out(rng: Random, data: bytes) -> bytes:
    start = _place(rng, len(data))
    return data[:start] + data[start + rng.choice((1, 2, 8, 100, 1000)) :]


def insert(rng: Random, data: bytes) -> bytes:
    start = _place(rng, len(data))
    piece = rng.choice((rng.randbytes(rng.choice((1, 4, 100))), rng.choice(WORDS).encode("utf-8", "surrogatepass")))
    return data[:start] + piece + data[start:]


def repeat(rng: Random, data: bytes) -> bytes:
    start = _place(rng, len(data))
    stop = start + rng.choice((1, 8, 128, 1000))
    return data[:stop] + data[start:stop] * rng.choice((1, 1, 3, 50)) + data[stop:]


def number(rng: Random, data: bytes) -> bytes:
    """An extreme number in place of whatever stands there: a length, a size, a spacing."""
    size = rng.choice((2, 4, 4, 8))
    order = rng.choice("<<<>")
    if size > 2 and rng.random() < 0.4:
        value = rng.choice(FLOATS)
        if size == 4 and abs(value) > 3e38:
            value = float("inf") if value > 0 else float("-inf")
        piece = struct.pack(f"{order}{'f' if size == 4 else 'd'}", value)
    else:
        bits = rng.choice(BITS) % 2 ** (8 * size)
        piece = bits.to_bytes(size, "little" if order == "<" else "big")
    start = _place(rng, max(1, len(data) - size))
    if rng.random() < 0.8:
        start -= start % min(size, 4)
    return data[:start] + piece + data[start + size :]


MOST_BYTES = 2**25
BYTES = [flip, flip, overwrite, cut, cut_out, insert, repeat, number, number, number]


def change_bytes(rng: Random, tree: Tree) -> str:
    path = some_file(rng, tree)
    if path is None:
        return "nothing"
    done = rng.choice(BYTES)
    tree.files[path] = done(rng, tree.bytes_of(path))[:MOST_BYTES]
    return f"{done.__name__} {path}"


def change_tree(rng: Random, tree: Tree) -> str:
    """A file is lost, empty, doubled, replaced by what is no file, called otherwise, or a bomb."""
    path = some_file(rng, tree)
    if path is None:
        return "nothing"
    kind = rng.choice(("lost", "empty", "special", "special", "ending", "swap", "double", "hole", "bomb", "nested"))
    data = tree.bytes_of(path)
    if kind == "lost":
        del tree.files[path]
    elif kind == "empty":
        tree.files[path] = b""
    elif kind == "special":
        special = rng.choice(
            [Special(name) for name in ("fifo", "socket", "folder")]
            + [Special("link", target) for target in (*DEVICES, "nowhere", path.rpartition("/")[2], "..")]
        )
        tree.files[path] = special
        return f"{special.kind} {special.target} for {path}"
    elif kind == "ending":
        endings = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".hdr", ".img", ".zip", "", ".seg.nrrd")
        new = path.partition(".")[0] + rng.choice(endings)
        tree.rename(path, new)
        return f"{path} called {new}"
    elif kind == "swap":
        other = some_file(rng, tree) or path
        tree.files[path], tree.files[other] = tree.files[other], tree.files[path]
    elif kind == "double":
        tree.files[path + rng.choice(("_2", ".bak", "/x"))] = data
    elif kind == "hole":
        tree.files[path] = Special("hole", size=rng.choice((2**31, 2**33, 2**40)), start=data)
    elif kind == "bomb":
        start = _place(rng, len(data))
        tree.files[path] = data[:start] + bomb(rng.choice((15, 31, -15)), rng.choice((300, 3000)))
    elif kind == "nested":
        tree.files["/".join(["d"] * rng.choice((20, 300))) + "/" + path.rpartition("/")[2]] = data
    return f"{kind} {path}"


@functools.cache
def bomb(wbits: int, megabytes: int) -> bytes:
    """A zlib (15), gzip (31) or bare (-15) stream of that many zeros, a thousandth of their size, without an end."""
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    head = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (megabytes - 1)


def splice(rng: Random, tree: Tree, other: Tree) -> str:
    """The beginning of one file and the end of another."""
    path, theirs = some_file(rng, tree), some_file(rng, other)
    if path is None or theirs is None:
        return "nothing"
    one, two = tree.bytes_of(path), other.bytes_of(theirs)
    tree.files[path] = one[: _place(rng, len(one))] + two[_place(rng, len(two)) :]
    return f"splice {path} with {theirs}"


def some_file(rng: Random, tree: Tree) -> str | None:
    """A plain file; the one that is read is taken most often."""
    plain = tree.plain()
    if tree.main in plain and rng.random() < 0.7:
        return tree.main
    return rng.choice(plain) if plain else None


def _place(rng: Random, length: int) -> int:
    """Somewhere in a file of that length, most often in its header."""
    if length < 1:
        return 0
    return rng.randrange(min(length, rng.choice((16, 132, 400, 700, length, length))))
