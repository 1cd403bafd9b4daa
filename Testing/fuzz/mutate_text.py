"""Changes to the text headers of NRRD and MetaImage."""

from __future__ import annotations

import re
from random import Random

from mutate import WORDS, some_file
from tree import Tree

NRRD_LINES = """\
data file: ../secret.raw
data file: /dev/zero
data file: //host/share/x.raw
data file: LIST
data file:
data file: ct%d.raw 0 4000000000 1
data file: %s%n.raw 0 3 1
data file: LIST 3
data file: .
datafile: ct.nhdr
byte skip: -1
byte skip: -9
byte skip: 99999999999999999999
line skip: 4294967296
line skip: -1
encoding: ascii
encoding: txt
encoding: hex
encoding: bzip2
encoding: zrl
encoding: gz
encoding: raw
type: block
block size: 4294967296
type: float
type: double
type: int8
type: uint64
type: none
dimension: 0
dimension: 1
dimension: 4
dimension: 16
dimension: 17
dimension: 4294967296
dimension: -3
sizes: 1 1 1
sizes: 0 0 0
sizes: 2147483647 2147483647 2147483647
sizes: 4294967297 2 2
sizes: -10 -12 6
space: 3D-right-handed
space: RAST
space: scanner-xyz-time
space dimension: 0
space dimension: 8
space directions: none none none
space directions: (1,0,0) (0,1,0)
space directions: (nan,0,0) (0,nan,0) (0,0,nan)
spacings: 1 1 1
spacings: nan nan nan
spacings: -1 -1 -1
spacings: 0 0 0
spacings: 1e300 1e300 1e300
kinds: vector domain domain
kinds: RGB-color domain domain
kinds: ???
centers: cell node cell
labels: "a" "b
endian: big
endian: middle
space units: "m" "m" "m"
units: "mm
key:=value
:=
:  nothing
#
old min: x
space origin: (nan,nan,nan)
space origin: (1e300,0,0)
measurement frame: (1,0,0) (0,1,0)
sample units: "
""".splitlines()
NRRD_LINES += ["content: \0", 'labels: "' + "x" * 3000]
META_LINES = """\
NDims = 0
NDims = 1
NDims = 2
NDims = 4
NDims = 11
NDims = 4294967296
NDims = -3
NDims = abc
DimSize = 0 0 0
DimSize = 1 1 1
DimSize = 2147483647 2147483647 2147483647
DimSize = -1 -1 -1
DimSize = 10
ElementType = MET_OTHER
ElementType = MET_STRING
ElementType = MET_DOUBLE
ElementType = MET_SHORT_ARRAY
ElementNumberOfChannels = 0
ElementNumberOfChannels = 3
ElementNumberOfChannels = 4294967296
HeaderSize = -2
HeaderSize = 99999999999999
HeaderSize = -1
BinaryData = False
CompressedData = True
CompressedDataSize = -1
CompressedDataSize = 99999999999999999999
CompressedData = False
BinaryDataByteOrderMSB = True
ObjectType = Tube
ElementSpacing = 0 0 0
ElementSpacing = nan nan nan
ElementSpacing = -1 -1 -1
TransformMatrix = 1 1 1 1 1 1 1 1 1
TransformMatrix = 1
Offset = nan nan nan
ElementDataFile = LIST
ElementDataFile = LIST 99
ElementDataFile = LIST 0
ElementDataFile = ../secret.raw
ElementDataFile = /dev/zero
ElementDataFile = %s%n%d 0 9 1
ElementDataFile =
ElementDataFile = slice%d.raw 0 4000000000 1
ElementDataFile = slice%d.raw 5 0 -1
ElementDataFile = slice%d.raw 0 5 0
ElementDataFile = \\\\host\\share\\x.raw
ElementDataFile = ct.mhd
ElementDataFile = .
AnatomicalOrientation = ???
Name = %n%n%n
Color = 1 2
ElementMin = x
Modality = MET_MOD_???
 =
ObjectSubType =
""".splitlines()
META_LINES += ["Comment = " + "x" * 5000, "Name = \0"]
MOST_BYTES = 10**6
"""Roughly, of what a change makes."""


def change_lines(rng: Random, tree: Tree) -> str:
    """A line of a text header is lost, doubled, moved, new, longer, or holds another value."""
    path = tree.main if tree.main in tree.plain() else some_file(rng, tree)
    if path is None:
        return "nothing"
    data = tree.bytes_of(path)
    nrrd = data.startswith(b"NRRD")
    at = data.find(b"\n\n") + 1 if nrrd else data.find(b"\n", data.find(b"ElementDataFile")) + 1
    lines, rest = data[:at].split(b"\n")[:-1], data[at:]
    if len(lines) < 2:
        return "nothing"
    row = rng.randrange(len(lines))
    line = lines[row]
    dictionary = NRRD_LINES if nrrd else META_LINES
    kind = rng.choice(
        ("lose", "double", "move", "new", "new", "replace", "replace", "word", "word", "word", "long", "ends")
    )
    if kind == "lose":
        del lines[row]
    elif kind == "double":
        lines[row:row] = [line] * min(rng.choice((1, 2, 5000)), 1 + MOST_BYTES // (1 + len(line)))
    elif kind == "move":
        lines.insert(rng.randrange(len(lines)), lines.pop(row))
    elif kind == "new":
        lines.insert(row, rng.choice(dictionary).encode("latin-1"))
    elif kind == "replace":
        new = rng.choice(dictionary).encode("latin-1")
        key = re.split(rb"[:=]", new)[0].strip()
        same = [n for n, old in enumerate(lines) if key and re.split(rb"[:=]", old)[0].strip() == key]
        lines[same[0] if same else row] = new
    elif kind == "word":
        words = list(re.finditer(rb"[^\s:=(),]+", line))
        if words:
            word = rng.choice(words)
            new = rng.choice(WORDS).encode("utf-8", "surrogatepass")
            lines[row] = line[: word.start()] + new + line[word.end() :]
    elif kind == "long":
        filler = rng.choice((b"x", b" ", b"1 ", b"(", b"\xe9", b"\0")) * rng.choice((200, 1000, 5000, 200_000))
        line = line[:MOST_BYTES]
        lines[row] = rng.choice((line + filler, filler + line, line.replace(b" ", b" " + filler, 1)))
    else:
        end = rng.choice((b"\r\n", b"\r", b"\n\r", b"\n \n", b"\0\n"))
        tree.files[path] = end.join(lines) + end + rest
        return f"line ends {path}"
    tree.files[path] = b"\n".join(lines) + b"\n" + rest
    return f"{kind} line {row} of {path}"
