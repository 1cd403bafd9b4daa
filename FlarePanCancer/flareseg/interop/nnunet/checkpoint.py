"""One nnU-Net checkpoint, read without running anything that it holds.

torch's unpickler for weights makes tensors and plain Python objects only. A checkpoint's training log also holds numpy
scalars; for the handful of names that these need, inert stand-ins are put on torch's list, so that not even numpy is
called. Whatever else a pickle names is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flareseg.errors import ModelError
from flareseg.model.archive import open_zip
from flareseg.text import shortened

if TYPE_CHECKING:
    import torch

LARGEST_CHECKPOINT_BYTES = 2**34
"""Weights and the optimiser's state, in fp32, of some 1.4 thousand million parameters: ten times ResEnc-XL."""
MOST_RECORDS = 100_000
LARGEST_DIRECTORY_BYTES = 2**24
_STOOD_IN_FOR = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.{kind}" for kind in ("float16", "float32", "float64", "int32", "int64", "uint8", "bool_", "bool")),
    *(f"numpy.dtypes.{kind}DType" for kind in ("Float16", "Float32", "Float64", "Int32", "Int64", "UInt8", "Bool")),
)


@dataclass(frozen=True)
class Checkpoint:
    """What is needed of a checkpoint.

    Attributes:
        weights: tensors by nnU-Net's names.
        configuration: e.g. "3d_fullres".
        trainer: class that trained it.
        mirror_axes: along which it may be mirrored; empty: not at all.
    """

    weights: dict[str, torch.Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint_*.pth.

    Raises:
        ModelError: when it is damaged, holds anything but data, or is none of nnU-Net's.
    """
    return _checked(read_data(path), path.name)


def read_data(path: Path) -> Any:
    """The tensors and plain objects in what torch.save wrote, as a zip.

    Raises:
        ModelError: when it is damaged, or holds anything but data.
    """
    import torch

    _check_archive(path)
    try:
        with _stand_ins():
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"'{path.name}' holds more than weights ({_named_in(str(error))}), which could be a program; "
            "it was refused unread, so get the model from someone you trust."
        ) from None
    except Exception as error:  # a damaged pickle, or zip, leads to errors of every kind
        reason = str(error).strip().partition("\n")[0][:120]
        raise ModelError(f"'{path.name}' is a damaged checkpoint ({_shown(reason)}); get the model again.") from None
    return data


def _checked(data: Any, name: str) -> Checkpoint:
    try:
        weights, trainer = data["network_weights"], data["trainer_name"]
        configuration, axes = data["init_args"]["configuration"], data.get("inference_allowed_mirroring_axes")
    except (KeyError, TypeError, AttributeError, IndexError):
        raise ModelError(
            f"'{name}' is no checkpoint of nnU-Net v2: it lacks weights, trainer or configuration."
        ) from None
    mirror = tuple(axes) if isinstance(axes, list | tuple) else ()
    sound = isinstance(weights, dict) and isinstance(trainer, str) and isinstance(configuration, str)
    if not sound or not (axes is None or all(type(axis) is int and 0 <= axis <= 2 for axis in mirror)):
        raise ModelError(f"'{name}' is no checkpoint of nnU-Net v2: its entries are of another kind.")
    return Checkpoint(weights, configuration, trainer, mirror)


def _check_archive(path: Path) -> None:
    """Only torch's zip format, stored as it is: older formats are read by code that is less strict, and a packed zip
    could unpack to any size."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"'{path.name}' cannot be read: {error.strerror or error}.") from None
    if size > LARGEST_CHECKPOINT_BYTES:
        raise ModelError(f"'{path.name}' has {size:,} bytes, more than any network needs.")
    try:
        with open_zip(path, LARGEST_DIRECTORY_BYTES) as archive:
            records = archive.infolist()
    except ModelError:
        raise ModelError(
            f"'{path.name}' is no checkpoint of a recent torch (or is damaged); get the model again."
        ) from None
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    script = any(record.filename.endswith("constants.pkl") for record in records)
    if packed or script or len(records) > MOST_RECORDS:
        raise ModelError(f"'{path.name}' is no checkpoint as torch.save writes it; it was refused unread.")


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let torch's unpickler take inert objects for numpy's scalars and their types."""
    import torch

    inert = [_inert(name) for name in _STOOD_IN_FOR]
    if hasattr(torch.serialization, "safe_globals"):
        with torch.serialization.safe_globals(inert):
            yield
        return
    before = torch.serialization.get_safe_globals()  # torch 2.4 has no such context
    torch.serialization.add_safe_globals(inert)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _inert(name: str) -> Any:
    """A class of that full name which takes everything and keeps nothing."""
    module, _, own = name.rpartition(".")
    return type(own, (_Inert,), {"__module__": module, "__qualname__": own})


class _Inert:
    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _named_in(message: str) -> str:
    """The global that torch's message names, e.g. "posix.system"."""
    words = message.split("GLOBAL ")
    found = words[1].split()[0] if len(words) > 1 and words[1].split() else "objects of an unknown kind"
    return _shown(found)


def _shown(text: str) -> str:
    """A foreign text, fit for one line of a terminal."""
    return shortened(text, 80)
