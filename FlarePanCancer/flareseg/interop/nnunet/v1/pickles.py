"""Pickles of nnU-Net v1 and of old torches, read without running anything that they name.

Python's own unpickler calls whatever a pickle names. Here a name is looked up in a short list, and what is found there
are stand-ins of this file: they keep numbers, and call neither numpy nor torch. Every other name is refused.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from flareseg.errors import ModelError
from flareseg.text import shortened

LARGEST_PICKLE_BYTES = 2**26
MOST_NUMBERS = 2**16
"""Of one array that is of use here: spacings, sizes, strides."""
MOST_ITEMS, DEEPEST = 2**19, 16
"""Of settings. Those of nnU-Net hold some numbers of every training case, a few tables deep."""
_TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")


class Unread:
    """What may stand in a pickle and is of no use here."""


def read_pickle(data: bytes, name: str) -> Any:
    """The plain objects in a pickle; numpy's arrays and numbers as lists and numbers of Python.

    Raises:
        ModelError: when it is damaged, or names anything but data.
    """
    if len(data) > LARGEST_PICKLE_BYTES:
        raise ModelError(f"'{name}' has {len(data):,} bytes, more than any settings need.")
    return as_plain(unpickled(io.BytesIO(data), name))


def unpickled(
    file: IO[bytes],
    name: str,
    more: Mapping[tuple[str, str], Any] | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The next pickle of a file.

    Args:
        file: at its begin; afterwards at its end.
        name: for messages.
        more: stand-ins by module and name, beside those for numpy.
        persistent: makes an object of a persistent id.

    Raises:
        ModelError: when it is damaged, or names anything but data.
    """
    try:
        return _Reader(file, name, {**_stand_ins(), **(more or {})}, persistent).load()
    except ModelError:
        raise
    except Exception as error:  # a damaged pickle leads to errors of every kind
        reason = shortened(str(error).strip().partition("\n")[0], 80)
        raise ModelError(f"'{name}' is damaged ({reason}); get the model again.") from None


# The one in Python, as the faster one takes memory by numbers that a pickle states.
class _Reader(pickle._Unpickler):  # type: ignore[misc,name-defined,unused-ignore]
    def __init__(self, file: IO[bytes], name: str, known: Mapping[tuple[str, str], Any], persistent: Any) -> None:
        super().__init__(file)
        self._name, self._known, self._persistent = name, known, persistent

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            raise ModelError(
                f"'{self._name}' holds more than numbers and texts ({shortened(f'{module}.{name}', 80)}), which could "
                "be a program; it was refused unread, so get the model from someone you trust."
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to other files")
        return self._persistent(pid)


def _stand_ins() -> dict[tuple[str, str], Any]:
    """For every name that settings and training logs hold. Made anew each time: a pickle may change a class."""

    class Dtype:
        def __init__(self, code: Any, *_: Any) -> None:
            self.code, self.order = str(code), "<"

        def __setstate__(self, state: Any) -> None:
            self.order = ">" if state[1] == ">" else "<"

        def numbers(self, data: Any) -> list[Any]:
            raw = data.encode("latin-1") if isinstance(data, str) else bytes(data)
            if self.code not in _TYPES or len(raw) > 8 * MOST_NUMBERS:
                raise ValueError("no plain numbers")
            found: list[Any] = np.frombuffer(raw, self.order + self.code).tolist()
            return found

    class Array:
        def __init__(self, *_: Any) -> None:
            self.value: Any = Unread()

        def __setstate__(self, state: Any) -> None:
            _, shape, dtype, columns_first, data = state
            self.value = _shaped(dtype, data, shape, "F" if columns_first else "C")

    def scalar(dtype: Any, data: Any = b"") -> Any:
        try:
            return dtype.numbers(data)[0]
        except (AttributeError, TypeError, ValueError, IndexError):
            return Unread()

    def from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
        result = Array()
        result.value = _shaped(dtype, data, shape, order)
        return result

    def encoded(text: Any, encoding: Any = "utf-8") -> bytes:
        if encoding not in ("latin1", "latin-1", "utf-8"):
            raise ValueError("an encoding that no pickle needs")
        return str(text).encode(str(encoding))

    known: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("numpy", "dtype"): Dtype,
        ("numpy", "ndarray"): type("ndarray", (Unread,), {}),
        ("_codecs", "encode"): encoded,
    }
    known |= {(module, "scalar"): scalar for module in _MULTIARRAY}
    known |= {(module, "_reconstruct"): Array for module in _MULTIARRAY}
    known |= {(module, "_frombuffer"): from_buffer for module in _NUMERIC}
    return known


def _shaped(dtype: Any, data: Any, shape: Any, order: Any) -> Any:
    """Nested lists of an array's numbers; `Unread` where these are of no use."""
    try:
        values = dtype.numbers(data)
        if math.prod(shape) != len(values) or len(shape) > 4:
            return Unread()
        return np.array(values).reshape(shape, order="F" if order == "F" else "C").tolist()
    except (AttributeError, TypeError, ValueError):
        return Unread()


def as_plain(value: Any) -> Any:
    """Tables, lists, texts and numbers only; arrays become lists.

    Raises:
        ModelError: when it is more than settings are. A list may hold another one many times over.
    """
    left = MOST_ITEMS

    def plain(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise ModelError("The model's settings hold too much to be settings.")
        if isinstance(value, dict):
            return {key: plain(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one, depth + 1) for one in value]
        if value is None or isinstance(value, str | int | float):
            return value
        return getattr(value, "value", Unread())

    return plain(value, 0)
