"""NRRD: headers (the grid, and where the voxels are), and writing.

Source: https://teem.sourceforge.net/nrrd/format.html. Headers are parsed here, strictly, because teem's reader ends the
process on some damaged ones. What a grid means in space is as ITK has it.
"""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.contents import not_of_kind
from flareseg.io.header import UNSTATED, Header, grid_of, volume_shape
from flareseg.io.opening import data_file
from flareseg.io.payload import Encoding, Payload, write_gzip, write_raw
from flareseg.io.text_header import MOST_FILES, header_lines, integers, numbered_names, numbers, wrong
from flareseg.volume import Geometry

MOST_AXES = 16
ROUNDED_COSINES = 1e-3
"""Directions are often written with three digits."""
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_WRITTEN_TYPES = {np.dtype(kind): names[0] for kind, names in _TYPES.items()} | {np.dtype("u1"): "unsigned char"}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
}
_TO_LPS = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
}
_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
"""Of three dimensions (and time), but they do not say where the patient's head is."""
_ALONG_THE_GRID = ("domain", "space", "time", "???", "none")
_WITHIN_A_VOXEL = re.compile(
    r"(stub|scalar|complex|list|point|vector|covariant-vector|normal|quaternion|(rgb|hsv|xyz|rgba|3|4)-color"
    r"|[234]-vector|3-(gradient|normal)|[23]d-(masked-)?(symmetric-)?matrix)"
)
_FIELDS = re.compile(
    r"content|number|type|blocksize|dimension|space(dimension|directions|units|origin)?|sizes|spacings|thicknesses"
    r"|axis(mins|maxs)|centers|centerings|kinds|labels|units|min|max|old(min|max)|datafile|endian|encoding"
    r"|(line|byte)skip|sampleunits|measurementframe"
)


def read_nrrd(path: Path, *, foreign: bool = False) -> Header:
    """Parse the header of a .nrrd or .nhdr file.

    Args:
        path: the file.
        foreign: whether the voxels may be in any file that the header names.

    Raises:
        InputError: when it is none or damaged, or gives no voxel size.
    """
    with path.open("rb") as file:
        if not re.fullmatch(rb"NRRD000[1-9]", file.read(8)):
            raise not_of_kind(path, "a NRRD file")
    fields, pairs, names, end = _parse(path)
    for needed in ("type", "dimension", "sizes", "encoding"):
        if needed not in fields:
            raise InputError(f"'{path}' has a damaged header: it lacks the field '{needed}'.")
    [dimension] = integers(path, "dimension", fields["dimension"], 1, 1)
    if dimension > MOST_AXES:
        raise wrong(path, "dimension", fields["dimension"])
    sizes = integers(path, "sizes", fields["sizes"], dimension, 1)
    directions = _directions(path, fields, dimension)
    layers = _layers(path, fields, directions, dimension)
    if len(layers) > 1:
        raise InputError(f"'{path}' has several axes of values within a voxel; one 3-D volume is needed.")
    axes = [axis for axis in range(dimension) if axis not in layers]
    shape_zyx = volume_shape(path, [sizes[axis] for axis in axes])
    geometry, notes = _geometry(path, fields, directions, axes[:3], dimension, shape_zyx)
    stored = [size for axis, size in enumerate(sizes) if axis in layers or axis in axes[:3]]
    order = [axis for axis in range(dimension) if axis in layers or axis in axes[:3]]
    return Header(
        shape=tuple(stored[::-1]),
        geometry=geometry,
        payload=_payload(path, fields, names, end, sizes, foreign),
        layer_axis=len(order) - 1 - order.index(layers[0]) if layers else None,
        fields=pairs,
        notes=notes,
    )


def _parse(path: Path) -> tuple[dict[str, str], dict[str, str], list[str], int]:
    """Fields, key/value pairs, names that follow "data file: LIST", and where the header ends."""
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    end = 0
    lines = header_lines(path)
    next(lines)
    for line, end in lines:
        if not line.strip():
            break
        if line.startswith("#"):
            continue
        key, assign, value = line.partition(":=")
        name, colon, text = f"{line} ".partition(": ")
        if assign and len(key) < len(name):
            pairs[key] = re.sub(r"\\([n\\])", lambda found: "\n" if found[1] == "n" else "\\", value)
            continue
        field = re.sub(r"[ _]", "", name.lower())
        if not colon or not _FIELDS.fullmatch(field):
            raise wrong(path, "line", line)
        fields["centers" if field == "centerings" else field] = text.strip()
        if field == "datafile" and text.startswith("LIST"):
            names = [text.strip() for text, _ in takewhile(lambda item: item[0].strip(), lines)]
            return fields, pairs, names, end
    return fields, pairs, [], end


def _directions(path: Path, fields: dict[str, str], dimension: int) -> list[list[float] | None]:
    """The vector along each axis, in the header's space; None for an axis that has none."""
    if "spacedirections" not in fields:
        return [None] * dimension
    found = _vectors(path, "space directions", fields["spacedirections"])
    if len(found) != dimension:
        raise wrong(path, "space directions", fields["spacedirections"])
    return found


def _vectors(path: Path, field: str, text: str) -> list[list[float] | None]:
    words = re.findall(r"\([^()]*\)|[^\s()]+", text)
    if "".join(words) != "".join(text.split()) and not re.sub(r"\([^()]*\)|none|\s", "", text) == "":
        raise wrong(path, field, text)
    vectors: list[list[float] | None] = []
    for word in words:
        if word.lower() == "none" or re.fullmatch(r"\((\s*nan\s*,?)+\)", word.lower()):
            vectors.append(None)
        elif word.startswith("("):
            vectors.append(numbers(path, field, word[1:-1].replace(",", " ")))
        else:
            raise wrong(path, field, text)
    return vectors


def _layers(path: Path, fields: dict[str, str], directions: list[list[float] | None], dimension: int) -> list[int]:
    """The axes along which the values of one voxel lie."""
    kinds = fields.get("kinds", "").lower().split() or ["???"] * dimension
    if len(kinds) != dimension:
        raise wrong(path, "kinds", fields["kinds"])
    layers = []
    for axis, kind in enumerate(kinds):
        if kind not in _ALONG_THE_GRID and not _WITHIN_A_VOXEL.fullmatch(kind):
            raise wrong(path, "kinds", fields["kinds"])
        unplaced = "spacedirections" in fields and directions[axis] is None and kind != "time"
        if kind not in _ALONG_THE_GRID or unplaced:
            layers.append(axis)
    return layers


def _geometry(
    path: Path,
    fields: dict[str, str],
    directions: list[list[float] | None],
    axes: list[int],
    dimension: int,
    shape_zyx: tuple[int, int, int],
) -> tuple[Geometry, tuple[str, ...]]:
    stated = fields.get("space", "").lower()
    space = re.sub(r"-time$|(?<=^ras|^las|^lps)t$", "", stated)
    if "space" in fields and space not in _TO_LPS and space not in _OTHER_SPACES:
        raise InputError(f"'{path}' lies in a space that is not the patient's, '{space[:60]}'; a CT volume is needed.")
    numbers_each = 3 if space == stated else 4
    if "spacedimension" in fields:
        [numbers_each] = integers(path, "space dimension", fields["spacedimension"], 1)
    if numbers_each not in (3, 4):
        raise wrong(path, "space dimension", fields["spacedimension"])
    if found := re.search(r'"\s*(m|cm|dm|um|nm|in)\s*"', fields.get("spaceunits", "")):
        raise InputError(f"'{path}' states its lengths in '{found[1]}', not in mm; correct its header first.")
    to_lps = np.array(_TO_LPS.get(space, (1.0, 1.0, 1.0)))
    if "measurementframe" in fields and len(_vectors(path, "frame", fields["measurementframe"])) != 3:
        raise wrong(path, "measurement frame", fields["measurementframe"])
    notes = () if space in _TO_LPS and "spacedirections" in fields else (UNSTATED,)
    if "spacedirections" not in fields:
        spacing = np.array(_per_axis(path, fields, "spacings", dimension))[axes]
        if not np.isfinite(spacing).all():
            raise InputError(f"'{path}' states no voxel size, so nothing in it can be measured.")
        origin = _first_centres(path, fields, spacing, axes, dimension)
        return grid_of(path, shape_zyx, np.eye(3), np.abs(spacing), origin), notes
    matrix = np.array([_of_space(path, directions[axis], numbers_each) for axis in axes]).T * to_lps[:, None]
    spacing = np.linalg.norm(matrix, axis=0)
    start = _vectors(path, "space origin", fields.get("spaceorigin", "(0,0,0)"))
    if len(start) != 1:
        raise wrong(path, "space origin", fields["spaceorigin"])
    origin = np.array(_of_space(path, start[0], numbers_each)) * to_lps
    return grid_of(path, shape_zyx, matrix, spacing, origin, rounding=ROUNDED_COSINES), notes


def _of_space(path: Path, vector: list[float] | None, count: int) -> list[float]:
    """The first three of `count` numbers, as a fourth is of time; an origin that is not known is 0."""
    if vector is not None and len(vector) != count:
        raise InputError(
            f"'{path}' has a damaged header: its vectors in space have {len(vector)} numbers, not {count}."
        )
    return vector[:3] if vector else [0.0, 0.0, 0.0]


def _per_axis(path: Path, fields: dict[str, str], field: str, dimension: int) -> list[float]:
    """One number for each axis; NaN where there is none."""
    words = fields.get(field, "").lower().split() or ["nan"] * dimension
    if len(words) != dimension:
        raise wrong(path, field, fields[field])
    return [float("nan") if word == "nan" else numbers(path, field, word)[0] for word in words]


def _first_centres(
    path: Path, fields: dict[str, str], spacing: NDArray[np.float64], axes: list[int], dimension: int
) -> NDArray[np.float64]:
    """Where the first voxel's centre is by "axis mins", which state the edge of a cell; 0 where they are not given."""
    minima = np.array(_per_axis(path, fields, "axismins", dimension))[axes]
    if not np.isfinite(minima).all():
        return np.zeros(3)
    centres = fields.get("centers", "").lower().split() or ["cell"] * dimension
    if len(centres) != dimension:
        raise wrong(path, "centers", fields["centers"])
    cells = np.array([centres[axis] != "node" for axis in axes])
    return np.asarray(minima + np.where(cells, spacing / 2, 0.0))


def _payload(
    path: Path, fields: dict[str, str], names: list[str], end: int, sizes: list[int], foreign: bool
) -> Payload:
    kind = next((kind for kind, known in _TYPES.items() if fields["type"].lower() in known), None)
    if kind is None:
        raise InputError(f"'{path}' holds values of the type '{fields['type'][:60]}', which cannot be read.")
    encoding = _ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        raise InputError(f"'{path}' has the encoding '{fields['encoding'][:60]}', which cannot be read.")
    endian = fields.get("endian", "little").lower()
    if endian not in ("little", "big"):
        raise wrong(path, "endian", endian)
    [lines] = integers(path, "line skip", fields.get("lineskip", "0"), 1, 0)
    [skip] = integers(path, "byte skip", fields.get("byteskip", "0"), 1, -1)
    if skip < 0 and encoding != "raw":
        raise wrong(path, "byte skip", fields["byteskip"])
    return Payload(
        files=_files(path, fields.get("datafile"), names, sizes, foreign),
        dtype=np.dtype((">" if endian == "big" else "<") + kind),
        encoding=encoding,
        offset=0 if "datafile" in fields else end,
        lines=lines,
        skip=skip,
    )


def _files(path: Path, text: str | None, names: list[str], sizes: list[int], foreign: bool) -> tuple[Path, ...]:
    if text is None:
        return (path,)
    dimension = len(sizes)
    if text.startswith("LIST"):
        given = integers(path, "data file", text[4:], 1, 1) if text[4:].strip() else []
    elif numbered := numbered_names(path, "data file", text):
        names, given = numbered
    else:
        return (data_file(path, text, foreign=foreign),)
    within = given[0] if given else dimension - 1
    if within > dimension or len(names) > MOST_FILES:
        raise wrong(path, "data file", text)
    # With as many dimensions as the volume, each file is a slab of any thickness.
    wanted = int(np.prod(sizes[within:], dtype=object))
    if (within == dimension and (not names or sizes[-1] % len(names))) or (within < dimension and len(names) != wanted):
        raise InputError(f"'{path}' names {len(names)} files of voxels, but its sizes need {wanted}.")
    return tuple(data_file(path, name, foreign=foreign) for name in names)


def write_nrrd(
    path: Path, array: NDArray[Any], geometry: Geometry, fields: dict[str, str], *, compressed: bool = True
) -> None:
    """Write a (z, y, x) array of numbers as an attached NRRD, with more `fields` in its header."""
    with path.open("wb") as file:
        file.write(nrrd_header(array.dtype, geometry, fields, compressed=compressed))
        if compressed:
            write_gzip(file, b"", array)
            return
        write_raw(file, array)


def nrrd_header(dtype: np.dtype[Any], geometry: Geometry, fields: dict[str, str], *, compressed: bool) -> bytes:
    """What stands before the voxels, which are of this type and follow in C order, little-endian."""
    z, y, x = geometry.shape_zyx
    steps = np.asarray(geometry.direction) * np.asarray(geometry.spacing_zyx_mm[::-1])
    directions = " ".join(_vector(steps[:, axis]) for axis in range(3))
    lines = [
        "NRRD0004",
        f"type: {_WRITTEN_TYPES[dtype.newbyteorder('=')]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {x} {y} {z}",
        f"space directions: {directions}",
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'gzip' if compressed else 'raw'}",
        f"space origin: {_vector(np.asarray(geometry.origin_xyz_mm))}",
        *(f"{key}:={value}" for key, value in fields.items()),
    ]
    return ("\n".join(lines) + "\n\n").encode("utf-8")


def _vector(values: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"
