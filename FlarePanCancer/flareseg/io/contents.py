"""What a file holds that is not what its ending says, and what to do about it: for messages."""

from __future__ import annotations

import re
from pathlib import Path

from flareseg.errors import InputError
from flareseg.io.decode import first_inflated
from flareseg.io.payload import GZIP_MAGIC

LOOK = 1024
"""Bytes that tell."""
APPLE_DOUBLE = b"\x00\x05\x16\x07"
"""How the files begin that macOS leaves beside others on foreign disks and in zips, called ._NAME."""
_KNOWN = (
    (rb"NRRD000\d", "it is NRRD; name it .nrrd"),
    (rb"\s*(ObjectType|NDims)\s*=", "it is a MetaImage; name it .mha or .mhd"),
    (rb".{344}(n\+1|ni1)|.{4}(n\+2|ni2)", "it is NIfTI; name it .nii, or .nii.gz"),
    (rb".{128}DICM", "it is DICOM; name it .dcm, or give the folder of its series"),
    (rb"PK\x03\x04", "it is a zip; unpack it first"),
    (re.escape(GZIP_MAGIC), "it was compressed twice; unpack it once"),
    (rb"BZh\d", "it is compressed by bzip2; unpack it first"),
    (rb"\xfd7zXZ", "it is compressed by xz; unpack it first"),
    (rb"\x28\xb5\x2f\xfd", "it is compressed by zstd; unpack it first"),
    (rb"(?i)\s*<(!doctype|html|\?xml)", "it is a web page, as a failed download leaves it; download it again"),
    (rb"version https://git-lfs", "it only points to the file, by Git LFS; get that by 'git lfs pull'"),
    (re.escape(APPLE_DOUBLE), "macOS left it beside the file itself; give that one"),
    (rb"/annex/objects/", "it only points to the file, by git-annex; get that by 'git annex get'"),
)


def not_of_kind(path: Path, kind: str) -> InputError:
    """That a file is no `kind`, with what it is instead where that can be told."""
    with path.open("rb") as file:
        beginning = file.read(LOOK)
    if beginning.startswith(GZIP_MAGIC):
        beginning = first_inflated(path, LOOK)
    for pattern, found in _KNOWN:
        if re.match(pattern, beginning, re.DOTALL) and path.suffix.lower() not in found.replace(",", "").split():
            return InputError(f"'{path}' is not {kind}, whatever its ending says: {found}.")
    return InputError(f"'{path}' is not {kind}, whatever its ending says; copy or download it again.")
