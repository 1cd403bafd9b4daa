"""Small valid CTs in every image format that a user may have."""

from __future__ import annotations

import bz2
import functools
import gzip
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from tree import Tree

SHAPE_ZYX = (6, 12, 10)


@functools.cache
def hu() -> NDArray[np.int16]:
    """Air around soft tissue with a little noise: what passes for a CT."""
    values = np.full(SHAPE_ZYX, -1000, np.int16)
    values[:, 2:10, 2:8] = 40
    values[2:4, 4:6, 3:6] = 300
    return values + np.random.default_rng(0).integers(-9, 10, SHAPE_ZYX).astype(np.int16)


def nifti1(data: bytes, code: int = 4, bits: int = 16, magic: bytes = b"n+1\0", offset: float = 352) -> bytes:
    """A NIfTI-1 header with both forms, and its data."""
    head = bytearray(352 if magic[1:2] == b"+" else 348)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *SHAPE_ZYX[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, code, bits)
    struct.pack_into("<8f", head, 76, 1, 2, 2, 3, 0, 0, 0, 0)
    struct.pack_into("<3f", head, 108, offset, 1, 0)
    head[123] = 2
    struct.pack_into("<2h", head, 252, 1, 1)
    struct.pack_into("<6f", head, 256, 0, 0, 1, 10, 12, 0)
    struct.pack_into("<12f", head, 280, -2, 0, 0, 10, 0, -2, 0, 12, 0, 0, 3, 0)
    head[344:348] = magic
    return bytes(head) + data


def nifti2(data: bytes) -> bytes:
    """A NIfTI-2 file."""
    head = bytearray(544)
    struct.pack_into("<i8s2h", head, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16)
    struct.pack_into("<8q", head, 16, 3, *SHAPE_ZYX[::-1], 1, 1, 1, 1)
    struct.pack_into("<8d", head, 104, 1, 2, 2, 3, 0, 0, 0, 0)
    struct.pack_into("<q2d", head, 168, 544, 1, 0)
    struct.pack_into("<2i", head, 344, 1, 1)
    struct.pack_into("<6d", head, 352, 0, 0, 1, 10, 12, 0)
    struct.pack_into("<12d", head, 400, -2, 0, 0, 10, 0, -2, 0, 12, 0, 0, 3, 0)
    struct.pack_into("<i", head, 500, 2)
    return bytes(head) + data


def nifti_seeds() -> dict[str, Tree]:
    raw, real = hu().tobytes(), hu().astype("<f4").tobytes()
    one = nifti1(raw)
    pair = {"ct.hdr": nifti1(b"", magic=b"ni1\0", offset=0), "ct.img": raw}
    return {
        "nii": Tree({"ct.nii": one}, "ct.nii"),
        "nii.gz": Tree({"ct.nii.gz": gzip.compress(one, 1, mtime=0)}, "ct.nii.gz"),
        "float": Tree({"ct.nii": nifti1(real, 16, 32)}, "ct.nii"),
        "gzip under nii": Tree({"ct.nii": gzip.compress(one, 1, mtime=0)}, "ct.nii"),
        "nifti2": Tree({"ct.nii": nifti2(raw)}, "ct.nii"),
        "nifti2.gz": Tree({"ct.nii.gz": gzip.compress(nifti2(raw), 1, mtime=0)}, "ct.nii.gz"),
        "pair by hdr": Tree(dict(pair), "ct.hdr"),
        "pair by img": Tree(dict(pair), "ct.img"),
        "pair packed": Tree({k + ".gz": gzip.compress(v, 1, mtime=0) for k, v in pair.items()}, "ct.hdr.gz"),
    }


def nrrd(data: bytes, encoding: str = "raw", extra: str = "", kind: str = "short") -> bytes:
    """A NRRD header and its data."""
    sizes = " ".join(map(str, SHAPE_ZYX[::-1]))
    return (
        f"NRRD0004\n# made for tests\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
        "space directions: (2,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\nendian: little\n"
        f"encoding: {encoding}\nspace origin: (-10,-12,0)\n{extra}\n"
    ).encode() + data


def nrrd_seeds() -> dict[str, Tree]:
    raw = hu().tobytes()
    text = " ".join(map(str, hu().ravel())).encode()
    packed = gzip.compress(raw, 1, mtime=0)
    slices = {f"slice{z}.raw": part.tobytes() for z, part in enumerate(hu())}
    listed = "data file: LIST 2\n" + "\n".join(slices)
    return {
        "raw": Tree({"ct.nrrd": nrrd(raw)}, "ct.nrrd"),
        "gzip": Tree({"ct.nrrd": nrrd(packed, "gzip")}, "ct.nrrd"),
        "ascii": Tree({"ct.nrrd": nrrd(text, "ascii")}, "ct.nrrd"),
        "hex": Tree({"ct.nrrd": nrrd(raw.hex().encode(), "hex")}, "ct.nrrd"),
        "bzip2": Tree({"ct.nrrd": nrrd(bz2.compress(raw), "bzip2")}, "ct.nrrd"),
        "detached": Tree({"ct.nhdr": nrrd(b"", extra="data file: ct.raw\n"), "ct.raw": raw}, "ct.nhdr"),
        "detached gzip": Tree({"ct.nhdr": nrrd(b"", "gzip", "data file: ct.gz\n"), "ct.gz": packed}, "ct.nhdr"),
        "detached ascii": Tree({"ct.nhdr": nrrd(b"", "ascii", "data file: ct.txt\n"), "ct.txt": text}, "ct.nhdr"),
        "skips": Tree({"ct.nrrd": nrrd(b"one line\n123" + raw, extra="line skip: 1\nbyte skip: 3\n")}, "ct.nrrd"),
        "list": Tree({"ct.nhdr": nrrd(b"", extra=listed)} | slices, "ct.nhdr"),
        "numbered": Tree({"ct.nhdr": nrrd(b"", extra="data file: slice%d.raw 0 5 1 2\n")} | slices, "ct.nhdr"),
    }


def meta(data_file: str, data: bytes = b"", extra: str = "", kind: str = "MET_SHORT") -> bytes:
    """A MetaImage header and its data."""
    sizes = " ".join(map(str, SHAPE_ZYX[::-1]))
    return (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -10 -12 0\nCenterOfRotation = 0 0 0\n{extra}"
        f"ElementSpacing = 2 2 3\nDimSize = {sizes}\nElementType = {kind}\nElementDataFile = {data_file}\n"
    ).encode() + data


def meta_seeds() -> dict[str, Tree]:
    raw = hu().tobytes()
    text = " ".join(map(str, hu().ravel())).encode()
    packed = zlib.compress(raw, 1)
    compressed = f"CompressedData = True\nCompressedDataSize = {len(packed)}\n"
    slices = {f"slice{z}.raw": part.tobytes() for z, part in enumerate(hu())}
    return {
        "mha": Tree({"ct.mha": meta("LOCAL", raw)}, "ct.mha"),
        "compressed": Tree({"ct.mha": meta("LOCAL", packed, compressed)}, "ct.mha"),
        "mhd": Tree({"ct.mhd": meta("ct.raw"), "ct.raw": raw}, "ct.mhd"),
        "mhd compressed": Tree({"ct.mhd": meta("ct.zraw", extra=compressed), "ct.zraw": packed}, "ct.mhd"),
        "ascii": Tree({"ct.mha": meta("LOCAL", text).replace(b"BinaryData = True", b"BinaryData = False")}, "ct.mha"),
        "list": Tree({"ct.mhd": meta("LIST", "\n".join(slices).encode())} | slices, "ct.mhd"),
        "list 2D": Tree({"ct.mhd": meta("LIST 2", "\n".join(slices).encode())} | slices, "ct.mhd"),
        "numbered": Tree({"ct.mhd": meta("slice%d.raw 0 5 1")} | slices, "ct.mhd"),
        "headersize": Tree({"ct.mhd": meta("ct.raw", extra="HeaderSize = -1\n"), "ct.raw": b"head" + raw}, "ct.mhd"),
    }


def label_seeds() -> dict[str, Tree]:
    """Label maps, and a segmentation of Slicer with names for its segments."""
    labels = (hu() > 0).astype("u1")
    segments = (
        "Segment0_ID:=liver\nSegment0_Name:=Liver\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n"
        "Segment0_Extent:=0 9 0 11 0 5\nSegmentation_SourceRepresentation:=Binary labelmap\n"
    )
    layered = np.stack([labels, labels * 0], axis=-1).tobytes()
    head = nrrd(layered, extra=segments + "Segment1_ID:=spleen\nSegment1_LabelValue:=1\nSegment1_Layer:=1\n")
    head = head.replace(b"dimension: 3", b"dimension: 4").replace(b"sizes: ", b"sizes: 2 ").replace(b"short", b"uchar")
    head = head.replace(b"kinds: ", b"kinds: list ").replace(b"directions: ", b"directions: none ")
    one = nrrd(labels.tobytes(), extra=segments, kind="uchar")
    return {
        "nii": Tree({"m.nii": nifti1(labels.tobytes(), 2, 8)}, "m.nii"),
        "nii float": Tree(
            {"m.nii.gz": gzip.compress(nifti1(labels.astype("f4").tobytes(), 16, 32), mtime=0)}, "m.nii.gz"
        ),
        "nrrd": Tree({"m.nrrd": nrrd(gzip.compress(labels.tobytes(), mtime=0), "gzip", kind="uchar")}, "m.nrrd"),
        "seg": Tree({"m.seg.nrrd": one}, "m.seg.nrrd"),
        "layers": Tree({"m.seg.nrrd": head}, "m.seg.nrrd"),
        "mha": Tree({"m.mha": meta("LOCAL", labels.tobytes(), kind="MET_UCHAR")}, "m.mha"),
    }
