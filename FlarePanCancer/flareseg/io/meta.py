"""MetaImage headers: the grid, and where the voxels are.

Source: https://itk.org/Wiki/ITK/MetaIO/Documentation. Headers are parsed here, strictly, because MetaIO's reader ends
the process on some damaged ones. What a grid means in space is as ITK has it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flareseg.errors import InputError
from flareseg.io.contents import not_of_kind
from flareseg.io.header import UNSTATED, Header, grid_of, volume_shape
from flareseg.io.nrrd import ROUNDED_COSINES
from flareseg.io.opening import data_file
from flareseg.io.payload import Payload
from flareseg.io.text_header import MOST_FILES, header_lines, integers, numbered_names, numbers, wrong

MOST_AXES = 10
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_ORIGIN = ("Offset", "Position", "Origin")
_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
_STANDARD = "RAI"
"""ITK's name of axes that run to the patient's left, back and head: it names where they come from."""


def read_meta(path: Path, *, foreign: bool = False) -> Header:
    """Parse the header of a .mha or .mhd file.

    Args:
        path: the file.
        foreign: whether the voxels may be in any file that the header names.

    Raises:
        InputError: when it is none or damaged, or gives no voxel size.
    """
    fields, names, end = _parse(path)
    if fields.get("objecttype", "Image").lower() != "image":
        raise InputError(f"'{path}' holds no image, but '{fields['objecttype'][:60]}'.")
    for needed in ("NDims", "DimSize", "ElementType"):
        if needed.lower() not in fields:
            raise InputError(f"'{path}' has a damaged header: it lacks '{needed}'.")
    [dimension] = integers(path, "NDims", fields["ndims"], 1, 1)
    if dimension > MOST_AXES:
        raise wrong(path, "NDims", fields["ndims"])
    sizes = integers(path, "DimSize", fields["dimsize"], dimension, 1)
    shape_zyx = volume_shape(path, sizes)
    spacing_field = next((name for name in ("ElementSpacing", "ElementSize") if name.lower() in fields), None)
    if spacing_field is None:
        raise InputError(f"'{path}' states no voxel size, so nothing in it can be measured.")
    spacing = np.array(numbers(path, spacing_field, fields[spacing_field.lower()], dimension))
    origin = np.array(_numbers(path, fields, _ORIGIN, dimension) or [0.0] * dimension)
    cosines = _numbers(path, fields, _DIRECTIONS, dimension**2)
    axes = np.reshape(cosines, (dimension, dimension)).T if cosines else np.eye(dimension)
    [layers] = integers(path, "ElementNumberOfChannels", fields.get("elementnumberofchannels", "1"), 1, 1)
    return Header(
        shape=(*shape_zyx, layers),
        geometry=grid_of(path, shape_zyx, axes[:3, :3], spacing[:3], origin[:3], rounding=ROUNDED_COSINES),
        payload=_payload(path, fields, names, end, sizes, foreign),
        layer_axis=3,
        notes=_notes(path, fields, bool(cosines)),
    )


def _parse(path: Path) -> tuple[dict[str, str], list[str], int]:
    """Fields by their names in lower case, names that follow "ElementDataFile = LIST", and where the header ends."""
    fields: dict[str, str] = {}
    lines = header_lines(path)
    for line, end in lines:
        key, equals, value = line.partition("=")
        if not line.strip():
            continue
        if not equals:
            break
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            names = [text.strip() for text, _ in lines if text.strip()] if value.strip().startswith("LIST") else []
            return fields, names, end
    if fields:
        raise InputError(f"'{path}' has a damaged header: it does not say where its voxels are.")
    raise not_of_kind(path, "a MetaImage file")


def _numbers(path: Path, fields: dict[str, str], names: tuple[str, ...], count: int) -> list[float] | None:
    """Of the first of several names for one thing."""
    name = next((name for name in names if name.lower() in fields), None)
    return numbers(path, name, fields[name.lower()], count) if name else None


def _yes(path: Path, fields: dict[str, str], name: str, otherwise: bool) -> bool:
    text = fields.get(name.lower(), str(otherwise))
    if text.lower() not in ("true", "t", "1", "yes", "false", "f", "0", "no"):
        raise wrong(path, name, text)
    return text.lower()[0] in "t1y"


def _notes(path: Path, fields: dict[str, str], directions: bool) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    slope = _numbers(path, fields, ("ElementToIntensityFunctionSlope",), 1) or [1.0]
    offset = _numbers(path, fields, ("ElementToIntensityFunctionOffset",), 1) or [0.0]
    if (slope, offset) != ([1.0], [0.0]):
        notes = (
            f"The header states a scale of its values, times {slope[0]:g} plus {offset[0]:g} "
            "(ElementToIntensityFunction), which was not followed, as ITK and 3D Slicer do not either.",
        )
    anatomy = fields.get("anatomicalorientation", "").upper()
    if directions or anatomy == _STANDARD:
        return notes
    if len(anatomy) == 3 and set(anatomy) <= set("RLAPIS"):
        return (*notes, f"The file states its orientation only as '{anatomy}', which was not followed. {UNSTATED}")
    return (*notes, UNSTATED)


def _payload(
    path: Path, fields: dict[str, str], names: list[str], end: int, sizes: list[int], foreign: bool
) -> Payload:
    kind = _TYPES.get(fields["elementtype"].upper().removesuffix("_ARRAY"))  # of vectors, in old files
    if kind is None:
        raise InputError(f"'{path}' holds values of the type '{fields['elementtype'][:60]}', which cannot be read.")
    compressed = _yes(path, fields, "CompressedData", False)
    binary = _yes(path, fields, "BinaryData", True)
    swapped = _yes(path, fields, "BinaryDataByteOrderMSB", _yes(path, fields, "ElementByteOrderMSB", False))
    [skip] = integers(path, "HeaderSize", fields.get("headersize", "0"), 1, -1)
    if skip and (compressed or not binary):
        raise wrong(path, "HeaderSize", fields["headersize"])
    text = fields["elementdatafile"]
    local = text.upper() == "LOCAL"
    return Payload(
        files=(path,) if local else _files(path, text, names, sizes, foreign),
        dtype=np.dtype((">" if swapped else "<") + kind),
        encoding="gzip" if compressed else "raw" if binary else "text",
        offset=end if local and not skip else 0,  # HeaderSize counts from the file's beginning
        skip=skip,
    )


def _files(path: Path, text: str, names: list[str], sizes: list[int], foreign: bool) -> tuple[Path, ...]:
    field = "ElementDataFile"
    if text.startswith("LIST"):
        within = text[4:].strip().upper().removesuffix("D")
        given = integers(path, field, within, 1, 1) if within else []
    elif numbered := numbered_names(path, field, text):
        names, given = numbered
    else:
        return (data_file(path, text, foreign=foreign),)
    inside = given[0] if given else len(sizes) - 1
    wanted = int(np.prod(sizes[inside:], dtype=object))
    if inside > len(sizes) or len(names) > MOST_FILES or len(names) != wanted:
        raise InputError(f"'{path}' names {len(names)} files of voxels, but its sizes need {wanted}.")
    return tuple(data_file(path, name, foreign=foreign) for name in names)
