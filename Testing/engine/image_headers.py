"""NRRD and MetaImage files made by hand, any of whose fields a test may change."""

import numpy as np
import pytest

from flareseg.errors import InputError
from flareseg.io.files import read_labels, read_volume

SHAPE = (6, 8, 9)
HU = np.random.default_rng(0).integers(-1000, 300, SHAPE).astype("<i2")
NRRD = {
    "type": "short",
    "dimension": "3",
    "sizes": "9 8 6",
    "encoding": "raw",
    "space": "left-posterior-superior",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "DimSize": "9 8 6",
    "ElementSpacing": "1 1 2",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def as_bytes(text):
    return text.encode("latin-1" if max(text, default="") <= "\xff" else "utf-8")


def nrrd(path, data=None, extra=b"", **changes):
    fields = NRRD | {key.replace("_", " "): value for key, value in changes.items()}
    lines = [as_bytes(f"{key}: {value}") for key, value in fields.items()]
    path.write_bytes(b"\n".join([b"NRRD0004", *lines, extra]) + b"\n" * (2 if extra else 1))
    with path.open("ab") as file:
        file.write(HU.tobytes() if data is None else data)
    return path


def meta(path, data=None, **changes):
    fields = META | changes
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # it ends the header
    lines = [as_bytes(f"{key} = {value}") for key, value in fields.items() if value is not None]
    path.write_bytes(b"\n".join(lines) + b"\n" + (HU.tobytes() if data is None else data))
    return path


def refused(path, words="", **options):
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    text = str(caught.value)
    assert text.isprintable() and path.name in text and words in text and len(text) < 600
    with pytest.raises(InputError):
        read_labels(path)
    return text
