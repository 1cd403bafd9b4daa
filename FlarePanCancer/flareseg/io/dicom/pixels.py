"""The Hounsfield units of DICOM slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import InputError
from flareseg.io.dicom.decoding import DecodingError, Layout, decoded
from flareseg.io.dicom.headers import beginning_of, quiet_pydicom, read_data_set
from flareseg.io.dicom.member import Source
from flareseg.io.dicom.padding import padding_of
from flareseg.io.dicom.rescale import Rescale, RescaleRecord
from flareseg.io.dicom.slices import Slice
from flareseg.io.dicom.values import UnclearValueError, text, whole, whole_or_none

AIR_HU = -1024
INT16 = (-32768, 32767)
BITS_ALLOCATED = (8, 16, 32)
_PADDING_NOTE = (
    "The padding value that the images state (PixelPaddingValue) is one of the body, too: only what surrounds the "
    "field of view was taken for padding."
)
_UNUSED_NOTE = (
    "Images have values in bits that hold no pixels by their headers (BitsStored), as graphics drawn over them do; "
    "these bits were left out."
)


class PixelReader:
    """Reads slices as HU; keeps the last file open, so that the frames of one are read at once.

    Args:
        path: of the input, for messages.
        is_ct: whether values without a rescale are to be judged.
        force: take values without a rescale for HU.
    """

    def __init__(self, path: Path, *, is_ct: bool, force: bool) -> None:
        self._record = RescaleRecord(path, is_ct=is_ct, force=force)
        self._last: tuple[Source, Any] | None = None
        self._odd: set[str] = set()

    def __call__(self, slice_: Slice) -> NDArray[np.int16]:
        """Read a slice: (rows, columns) of stored * slope + intercept, rounded; padding pixels are air.

        Raises:
            InputError: when the pixels are missing, damaged, coloured, or compressed in a way that cannot be decoded.
        """
        data = self._data_of(slice_.file)
        try:
            rescale = Rescale.of(data, slice_.frame)
            layout, stored = _stored(slice_, data)
            padding, in_body = padding_of(data, stored, rescale)
        except (UnclearValueError, DecodingError) as error:
            raise InputError(f"'{slice_.file}' is damaged: its pixels cannot be read ({error}).") from None
        stored, unused = _of_bits(stored, layout, padding)
        self._odd |= {note for note, holds in ((_PADDING_NOTE, in_body), (_UNUSED_NOTE, unused)) if holds}
        self._record.add(slice_, rescale, stored, padding)
        hu = rescale.hu(stored)
        if padding is not None:
            hu[padding] = AIR_HU
        return hu

    def notes(self) -> tuple[str, ...]:
        """What to know about the values of all slices read.

        Raises:
            InputError: when they have no rescale values and cannot be HU.
        """
        return (*self._record.notes(), *sorted(self._odd))

    def _data_of(self, file: Source) -> Any:
        if self._last is None or self._last[0] != file:
            self._last = None  # two large files need not be held at once
            try:
                with quiet_pydicom():
                    data = read_data_set(file, beginning_of(file))
            except Exception as error:  # pydicom raises errors of many kinds for damaged files
                words = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
                raise InputError(f"'{file}' cannot be read: {words}.") from None
            self._last = file, data
        return self._last[1]


def _stored(slice_: Slice, data: Any) -> tuple[Layout, NDArray[Any]]:
    """How the values are stored, and the values."""
    if (whole(data, "SamplesPerPixel") or 1) != 1 or text(data, "PhotometricInterpretation").startswith("PALETTE"):
        raise DecodingError("it is a colour image, no slice of a CT")
    element = data.get_item("PixelData")
    if element is None or not element.value:
        raise DecodingError("it has none")
    pixels, frames = bytes(element.value), whole_or_none(data, "NumberOfFrames") or 1
    assert slice_.place is not None
    layout = _layout(data, slice_.place.rows, slice_.place.columns, len(pixels) // max(frames, 1))
    syntax = _syntax(data)
    frame = slice_.frame or 0
    if syntax is not None and syntax.is_compressed and not syntax.is_deflated:
        stored = decoded(pixels, frame, frames, syntax, layout)
    else:
        stored = _plain(pixels, frame, layout, is_little_endian=data.original_encoding[1] is not False)
    return layout, _right_aligned(stored, data, layout)


def _right_aligned(stored: NDArray[Any], data: Any, layout: Layout) -> NDArray[Any]:
    """Values that end with the lowest bit: old writers put them into the highest bits, and say so (HighBit)."""
    high = whole_or_none(data, "HighBit")
    below = 0 if high is None or high >= layout.bits_allocated else high + 1 - layout.bits_stored
    # Where the lowest bits are in use, the header is wrong.
    if below <= 0 or (stored & ((1 << below) - 1)).any():
        return stored
    return stored >> below


def _syntax(data: Any) -> Any | None:
    """The transfer syntax; None where the file has none, and its encoding was found out by pydicom.

    Raises:
        DecodingError: for one that is not in the standard.
    """
    from pydicom.uid import UID

    stated = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    if not stated:
        return None
    syntax = UID(str(stated))  # of another value representation it is a plain text
    if not syntax.is_transfer_syntax or syntax.is_private:
        raise DecodingError(f"the transfer syntax {syntax} is unknown")
    return syntax


def _layout(data: Any, rows: int, columns: int, bytes_of_frame: int) -> Layout:
    allocated = whole(data, "BitsAllocated")
    if allocated is None:  # what the size of the data says
        allocated = next((bits for bits in BITS_ALLOCATED if rows * columns * bits // 8 == bytes_of_frame // 2 * 2), 16)
    if allocated not in BITS_ALLOCATED:
        raise DecodingError(f"BitsAllocated is {allocated}")
    stored = whole_or_none(data, "BitsStored")
    if stored is None or not 1 <= stored <= allocated:
        stored = allocated
    sign = whole(data, "PixelRepresentation")
    if sign not in (0, 1):
        what = "missing" if sign is None else str(sign)
        raise DecodingError(f"PixelRepresentation is {what}, so nobody knows whether they have a sign")
    return Layout(rows, columns, allocated, stored, sign == 1)


def _plain(pixels: bytes, frame: int, layout: Layout, *, is_little_endian: bool) -> NDArray[Any]:
    start = frame * layout.bytes
    if len(pixels) < start + layout.bytes:
        raise DecodingError(f"{len(pixels)} bytes where {start + layout.bytes} are needed")
    kind = layout.dtype.newbyteorder("<" if is_little_endian else ">")
    values = np.frombuffer(pixels, kind, layout.rows * layout.columns, start)
    return values.astype(layout.dtype, copy=False).reshape(layout.rows, layout.columns)


def _of_bits(stored: NDArray[Any], layout: Layout, padding: NDArray[np.bool_] | None) -> tuple[NDArray[Any], bool]:
    """The values in the bits that hold the pixels, the sign in the highest of them; and whether others were dropped.

    Padding is often written in more bits than there are, and is kept.
    """
    unused = stored.dtype.itemsize * 8 - layout.bits_stored
    if not unused:
        return stored, False
    if layout.signed:
        outside = stored.max(initial=0) >= 1 << (layout.bits_stored - 1)
        return ((stored << unused) >> unused if outside else stored), False
    most = (1 << layout.bits_stored) - 1
    beyond = stored > most
    if padding is not None:
        beyond &= ~padding
    if not beyond.any():
        return stored, False
    return np.where(beyond, stored & np.array(most, stored.dtype), stored), True
