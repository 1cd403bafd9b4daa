"""Compressed pixels of DICOM images, decoded within bounds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.io.dicom.headers import quiet_pydicom

MOST_PIXELS = 1 << 24
SLACK_BYTES = 1 << 16
JPEG_START, JPEG2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
NO_FRAME_MARKERS = (0xC4, 0xC8, 0xCC)
"""JPEG markers between those of frames (FFC0 to FFCF) that are none."""


class DecodingError(ValueError):
    """Pixels that cannot be decoded; the message says why."""


@dataclass(frozen=True)
class Layout:
    """How the pixels of a slice are stored."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @property
    def bytes(self) -> int:
        return self.rows * self.columns * self.bits_allocated // 8


def decoded(pixel_data: bytes, frame: int, frames: int, syntax: Any, layout: Layout) -> NDArray[Any]:
    """The stored values of a frame, (rows, columns), by pydicom's decoders or, where these are missing, by ITK's.

    Raises:
        DecodingError: when the stream is damaged, of another size than the header says, or of an unknown kind.
    """
    from pydicom.encaps import get_frame

    if layout.rows * layout.columns > MOST_PIXELS:
        raise DecodingError(f"{layout.columns} x {layout.rows} pixels are more than any CT has")
    try:
        stream = get_frame(pixel_data, frame, number_of_frames=frames)
    except Exception as error:  # pydicom raises errors of many kinds for damaged streams
        raise DecodingError(_first_line(error)) from None
    if len(stream) > 2 * layout.bytes + SLACK_BYTES:
        raise DecodingError(f"{len(stream)} bytes for {layout.columns} x {layout.rows} pixels")
    # The stream has a size of its own, which a decoder allocates whatever the header says.
    size = stream_size(stream)
    if size is not None and size != (layout.rows, layout.columns, 1):
        raise DecodingError(
            f"its stream has {size[1]} x {size[0]} pixels of {size[2]} values, not {layout.columns} x {layout.rows}"
        )
    single = _data_set(stream, syntax, layout)
    values = _by_pydicom(single, syntax)
    if values is None:
        values = _by_itk(single)
    if values.shape != (layout.rows, layout.columns):
        raise DecodingError(f"it has {values.shape[-1]} x {values.shape[0]} pixels")
    return values


def stream_size(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a JPEG, JPEG-LS or JPEG 2000 stream declares; None where it has none."""
    start = stream.find(JPEG2000_START, 0, SLACK_BYTES)
    if start >= 0 and len(stream) >= start + 42:
        high = [int.from_bytes(stream[at : at + 4], "big") for at in range(start + 8, start + 24, 4)]
        right, bottom, left, top = high
        return bottom - top, right - left, int.from_bytes(stream[start + 40 : start + 42], "big")
    if not stream.startswith(JPEG_START):
        return None
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in NO_FRAME_MARKERS) or marker == 0xF7:
            rows, columns = (int.from_bytes(stream[i : i + 2], "big") for i in (at + 5, at + 7))
            return rows, columns, stream[at + 9]
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


def _data_set(stream: bytes, syntax: Any, layout: Layout) -> Any:
    """A plain image of one frame, with nothing else of the file in it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.Rows, data.Columns, data.SamplesPerPixel = layout.rows, layout.columns, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored = layout.bits_allocated, layout.bits_stored
    data.HighBit, data.PixelRepresentation = layout.bits_stored - 1, int(layout.signed)
    data.PixelData = encapsulate([stream])
    data["PixelData"].is_undefined_length = True
    return data


def _by_pydicom(data: Any, syntax: Any) -> NDArray[Any] | None:
    """None where pydicom has no decoder, or its decoder fails."""
    from pydicom.pixels import get_decoder

    try:
        with quiet_pydicom():
            values, _ = get_decoder(syntax).as_array(data, raw=True)
            return np.asarray(values)
    except Exception:  # pydicom and its decoders raise errors of many kinds
        return None


def _by_itk(data: Any) -> NDArray[Any]:
    """For JPEG, JPEG-LS and JPEG 2000, whose decoders ITK brings along; it reads files only."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with tempfile.TemporaryDirectory(prefix="flareseg_") as folder, quiet_pydicom():
            file = Path(folder) / "slice.dcm"
            data.save_as(file, enforce_file_format=True)
            values = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    except Exception:  # ITK raises RuntimeError, pydicom errors of many kinds
        name = data.file_meta.TransferSyntaxUID.name
        raise DecodingError(
            f"it is compressed as {name}, which cannot be decoded; store it uncompressed first"
        ) from None
    return np.asarray(values.reshape(values.shape[-2:]))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
