"""The Hounsfield units of one DICOM slice."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError

AIR_HU = -1024
INT16 = (-32768, 32767)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Without pydicom's warnings and logged tracebacks; the caller says what matters in one line."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def hu_of(file: Path) -> NDArray[np.int16]:
    """Read a slice: (rows, columns) of stored * slope + intercept, rounded; padding pixels are air.

    Raises:
        InputError: when the pixels are missing, damaged, coloured, or compressed in a way that cannot be decoded.
    """
    import pydicom

    try:
        with quiet_pydicom():
            data = pydicom.dcmread(file, force=True)
    except Exception as error:  # pydicom raises errors of many kinds for damaged files
        raise InputError(f"'{file}' cannot be read: {_first_line(error)}.") from None
    if int(data.get("SamplesPerPixel", 1)) != 1:
        raise InputError(f"'{file}' is a colour image, no slice of a CT.")
    if "PixelData" not in data:
        raise InputError(f"'{file}' has no pixels.")
    slope, intercept = _number(data, "RescaleSlope", 1.0), _number(data, "RescaleIntercept", 0.0)
    stored = _stored(file, data)
    if stored is None:
        return _decoded_by_itk(file, data, slope, intercept)
    padding = _padding(data, stored)
    if slope == 1 and float(intercept).is_integer():
        hu = np.clip(stored.astype(np.int32) + int(intercept), *INT16).astype(np.int16)
    else:
        hu = np.clip(np.rint(stored * slope + intercept), *INT16).astype(np.int16)
    if padding is not None:
        hu[padding] = AIR_HU
    return hu


def _stored(file: Path, data: Any) -> NDArray[Any] | None:
    """The stored values; None where pydicom lacks a decoder for them."""
    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ImplicitVRLittleEndian

        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        syntax = ImplicitVRLittleEndian
    try:
        with quiet_pydicom():
            stored = np.asarray(data.pixel_array)
    except Exception as error:
        if syntax.is_compressed:
            return None
        raise InputError(f"'{file}' is damaged: its pixels cannot be read ({_first_line(error)}).") from None
    if stored.ndim != 2:
        raise InputError(f"'{file}' holds {stored.ndim}-dimensional pixels, no slice of a CT.")
    bits, unused = int(data.BitsStored), stored.dtype.itemsize * 8 - int(data.BitsStored)
    if unused and int(data.PixelRepresentation) == 1 and stored.max(initial=0) >= 1 << (bits - 1):
        stored = (stored << unused) >> unused  # the sign is in the highest stored bit
    return stored


def _padding(data: Any, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where the scanner had nothing to show (PS3.3 C.7.5.1.1.2)."""
    if data.get("PixelPaddingValue") is None:
        return None
    first = _as_stored(data.PixelPaddingValue, stored.dtype)
    last = data.get("PixelPaddingRangeLimit")
    limits = sorted((first, first if last is None else _as_stored(last, stored.dtype)))
    padding: NDArray[np.bool_] = (stored >= limits[0]) & (stored <= limits[1])
    return padding


def _as_stored(value: Any, dtype: np.dtype[Any]) -> int:
    """A padding value in the sign of the pixels; writers often give it the other value representation."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    info = np.iinfo(dtype)
    span = 1 << info.bits
    if number > info.max:
        return number - span
    return number + span if number < info.min else number


def _decoded_by_itk(file: Path, data: Any, slope: float, intercept: float) -> NDArray[np.int16]:
    """For JPEG, JPEG-LS and JPEG 2000, whose decoders ITK brings along; ITK applies slope and intercept itself."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        hu = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    except RuntimeError:
        name = data.file_meta.TransferSyntaxUID.name
        raise InputError(
            f"'{file}' is compressed as {name}, which cannot be decoded; store it uncompressed first."
        ) from None
    hu = hu.reshape(hu.shape[-2:])
    result = np.clip(np.rint(hu), *INT16).astype(np.int16)
    if data.get("PixelPaddingValue") is not None:
        kind = np.dtype(f"{'i' if int(data.PixelRepresentation) else 'u'}{int(data.BitsAllocated) // 8}")
        stored = np.rint((hu - intercept) / slope).astype(kind)
        result[_padding(data, stored)] = AIR_HU
    return result


def _number(data: Any, name: str, default: float) -> float:
    value = data.get(name)
    number = default if value in (None, "") else float(value)
    return number if np.isfinite(number) and (number != 0 or name != "RescaleSlope") else default


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
