"""Hashes of arrays and weights, by which a result knows what it was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

LENGTH = 16
"""Hexadecimal digits that are kept: enough to tell results apart, short enough for thousands in a file."""


def array_hash(*arrays: NDArray[Any]) -> str:
    """Of the shapes, types and values of arrays."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(repr((array.shape, array.dtype.str)).encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()[:LENGTH]


def weights_hash(weights: Mapping[str, torch.Tensor] | None) -> str:
    """Of the names and values of weights; "" without any."""
    if weights is None:
        return ""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode() + array_hash(weights[name].detach().float().cpu().numpy()).encode())
    return total.hexdigest()[:LENGTH]


def file_stamp(path: Path | None) -> str:
    """Size and time of change of a file or folder; empty if there is none. Quicker than a hash of hundreds of MB."""
    try:
        found = path.stat() if path else None
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}" if found else ""
