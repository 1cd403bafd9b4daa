"""The weights in a checkpoint of nnU-Net v1, by new and by old torches.

torch since 1.6 writes zips, which are read as those of version 2. Before, it wrote pickles one after the other and the
numbers behind them. torch reads these by code that is less strict than its reader of zips, so they are read here: the
pickles by stand-ins, of the numbers only those of the network.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from flareseg.errors import ModelError
from flareseg.interop.nnunet.checkpoint import LARGEST_CHECKPOINT_BYTES, read_data
from flareseg.interop.nnunet.v1.pickles import unpickled

if TYPE_CHECKING:
    import torch

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""At the begin of torch's files before the zips."""
STATE = "state_dict"
_STORAGES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_ZIP = b"PK"


def read_v1_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the network by nnU-Net's names.

    Raises:
        ModelError: when the file is damaged, holds anything but data, or is no checkpoint of nnU-Net v1.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _ZIP
    except OSError as error:
        raise ModelError(f"'{path.name}' cannot be read: {error.strerror or error}.") from None
    state = read_data(path).get(STATE) if zipped else _read_old(path)
    if not isinstance(state, dict) or not state:
        raise ModelError(f"'{path.name}' is no checkpoint of nnU-Net v1: it has no weights.")
    return state


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    numbers: int
    offset: int = 0


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _read_old(path: Path) -> dict[str, torch.Tensor]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_CHECKPOINT_BYTES:
                raise ModelError(f"'{path.name}' has {size:,} bytes, more than any network needs.")
            if unpickled(file, path.name) != MAGIC or unpickled(file, path.name) != PROTOCOL:
                raise ModelError(f"'{path.name}' is no checkpoint as torch.save writes it; it was refused unread.")
            unpickled(file, path.name)  # sizes of the machine's numbers, the same on all that run torch
            storages: dict[str, _Storage] = {}
            data = unpickled(file, path.name, _torch_stand_ins(), lambda pid: _storage(pid, storages))
            keys = unpickled(file, path.name)
            state = data.get(STATE) if isinstance(data, dict) else None
            if not isinstance(state, dict):
                return {}
            places = _places(file, keys, storages, size)
            return {str(name): _tensor(file, value, places) for name, value in state.items()}
    except ModelError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise ModelError(f"'{path.name}' is damaged ({str(error)[:80]}); get the model again.") from None


def _torch_stand_ins() -> dict[tuple[str, str], Any]:
    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
        whole = all(type(value) is int and 0 <= value < 2**40 for value in (offset, *size, *stride))
        if not isinstance(storage, _Storage) or not whole or len(size) != len(stride):
            raise ValueError("a tensor without sizes")
        return _Tensor(storage, storage.offset + offset, tuple(size), tuple(stride))

    def parameter(data: Any, *_: Any) -> Any:
        return data

    known: dict[tuple[str, str], Any] = {("torch", name): name for name in _STORAGES}
    known["torch._utils", "_rebuild_tensor_v2"] = tensor
    known["torch._utils", "_rebuild_tensor"] = tensor
    known["torch._utils", "_rebuild_parameter"] = parameter
    return known


def _storage(pid: Any, seen: dict[str, _Storage]) -> _Storage:
    """Of what torch writes for one: its kind, key, place, length, and which part of another one it is."""
    word, kind, key, _, numbers, *view = pid
    if word != "storage" or type(numbers) is not int or numbers < 0:
        raise ValueError("no storage")
    offset = view[0][1] if view and view[0] is not None else 0
    if type(offset) is not int or offset < 0:
        raise ValueError("no part of a storage")
    found = _Storage(str(key), np.dtype(_STORAGES[kind]), numbers, offset)
    seen[found.key] = found
    return found


def _places(file: IO[bytes], keys: Sequence[Any], storages: dict[str, _Storage], size: int) -> dict[str, int]:
    """Where in the file the numbers of each storage begin; each has its length before it."""
    places = {}
    for key in keys:
        storage = storages[str(key)]
        numbers = int.from_bytes(file.read(8), "little", signed=True)
        places[storage.key] = file.tell()
        end = file.tell() + numbers * storage.dtype.itemsize
        if numbers != storage.numbers or end > size:
            raise ValueError("it ends too early")
        file.seek(end)
    return places


def _tensor(file: IO[bytes], value: Any, places: dict[str, int]) -> torch.Tensor:
    import torch

    if not isinstance(value, _Tensor):
        raise ValueError("no tensor among the weights")
    storage = value.storage
    reach = sum((size - 1) * step for size, step in zip(value.size, value.stride, strict=True)) + 1
    count = reach if math.prod(value.size) else 0
    if value.offset + count > storage.numbers:
        raise ValueError("a tensor beyond its numbers")
    file.seek(places[storage.key] + value.offset * storage.dtype.itemsize)
    numbers = np.frombuffer(bytearray(file.read(count * storage.dtype.itemsize)), storage.dtype)
    return torch.from_numpy(numbers).as_strided(value.size, value.stride)
