"""NRRD and MetaImage text headers: where the voxels are.

Sources: https://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from flareseg.errors import InputError
from flareseg.io.payload import Payload

LONGEST_HEADER = 1 << 20
_NRRD_TYPES = {
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
_META_TYPES = {
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


def nrrd_payload(path: Path) -> Payload | None:
    """Where the voxels of a .nrrd or .nhdr file are; None for layouts that are left to SimpleITK.

    Those are ASCII and bzip2 encodings, skipped lines, and data spread over many files.

    Raises:
        InputError: when the header is none, or gives no voxel size.
    """
    head = _head(path)
    if not head.startswith(b"NRRD000"):
        raise InputError(f"'{path}' is not a NRRD file, whatever its ending says.")
    fields: dict[str, str] = {}
    offset = 0
    while offset < len(head):
        line, newline, _ = head[offset:].partition(b"\n")
        offset += len(line) + len(newline)
        text = line.decode("utf-8", "replace").strip()
        if not text:
            break
        key, colon, value = text.partition(": ")
        if colon and not text.startswith("#") and ":=" not in key:
            fields[key.lower()] = value.strip()
    sizes = re.findall(r"\([^)]*\)", fields.get("space directions", "")) or fields.get("spacings", "").split()
    flat = fields.get("dimension") in ("1", "2")  # refused as such elsewhere
    if not flat and len([size for size in sizes if "nan" not in size.lower()]) < 3:
        raise InputError(f"'{path}' states no voxel size, so nothing in it can be measured.")
    data_file = fields.get("data file", fields.get("datafile", ""))
    encoding = fields.get("encoding", "").lower()
    kind = next((kind for kind, names in _NRRD_TYPES.items() if fields.get("type", "").lower() in names), None)
    skipped = any(fields.get(key, "0") != "0" for key in ("line skip", "lineskip", "byte skip", "byteskip"))
    if kind is None or skipped or encoding not in ("raw", "gzip", "gz") or data_file.startswith("LIST"):
        return None
    if len(data_file.split()) > 1 and not (path.parent / data_file).exists():
        return None  # a numbered series of files
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return Payload(
        file=path.parent / data_file if data_file else path,
        dtype=np.dtype(order + kind),
        offset=0 if data_file else offset,
        compressed=encoding != "raw",
    )


def meta_payload(path: Path) -> Payload | None:
    """Where the voxels of a .mha or .mhd file are; None for layouts that are left to SimpleITK.

    Raises:
        InputError: when the header is none, or gives no voxel size.
    """
    head = _head(path)
    fields: dict[str, str] = {}
    offset = 0
    while "elementdatafile" not in fields:
        line, newline, _ = head[offset:].partition(b"\n")
        key, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            raise InputError(f"'{path}' is not a MetaImage file, whatever its ending says.")
        fields[key.strip().lower()] = value.strip()
        offset += len(line) + len(newline)
    if "elementspacing" not in fields and "elementsize" not in fields:
        raise InputError(f"'{path}' states no voxel size, so nothing in it can be measured.")
    data_file = fields["elementdatafile"]
    kind = _META_TYPES.get(fields.get("elementtype", "").upper())
    binary = fields.get("binarydata", "True").lower() == "true"
    if kind is None or not binary or fields.get("headersize", "0") != "0" or data_file.startswith("LIST"):
        return None
    local = data_file.upper() == "LOCAL"
    if not local and len(data_file.split()) > 1 and not (path.parent / data_file).exists():
        return None  # a numbered series of files
    swapped = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False")).lower() == "true"
    return Payload(
        file=path if local else path.parent / data_file,
        dtype=np.dtype((">" if swapped else "<") + kind),
        offset=offset if local else 0,
        compressed=fields.get("compresseddata", "False").lower() == "true",
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST_HEADER)
