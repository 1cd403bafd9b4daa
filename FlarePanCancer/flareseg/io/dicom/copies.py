"""Copies of the same image: the same place and the same pixels, whatever the identifiers say."""

from __future__ import annotations

from collections import defaultdict

from flareseg.io.dicom.headers import beginning_of, quiet_pydicom, read_data_set
from flareseg.io.dicom.slices import Slice


def without_copies(slices: list[Slice]) -> list[Slice]:
    """Slices without the copies of those before them: the same instance UID, place and pixels.

    Two images that share an instance UID, but not place and pixels, are both kept.
    """
    kept: list[Slice] = []
    seen: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for slice_ in slices:
        position = slice_.place.position_xyz_mm if slice_.place else None
        same = seen[slice_.uid, slice_.frame, position, slice_.acquisition] if slice_.uid else []
        if any(same_pixels(slice_, other) for other in same):
            continue
        same.append(slice_)
        kept.append(slice_)
    return kept


def same_pixels(one: Slice, other: Slice) -> bool:
    """Whether two slices of different files, or frames, hold the same pixels."""
    if one.frame != other.frame or one.file == other.file:
        return False
    first, second = _content(one), _content(other)
    if first == second:
        return True
    return _pixels(one, first) == _pixels(other, second) != b""


def _content(slice_: Slice) -> bytes:
    try:
        with slice_.file.open("rb") as stream:
            return stream.read()
    except (OSError, ValueError):
        return b""


def _pixels(slice_: Slice, content: bytes) -> bytes:
    """The pixel data as they are stored; the bytes are compared, not decoded."""
    try:
        with quiet_pydicom():
            data = read_data_set(slice_.file, beginning_of(slice_.file))
            return bytes(data.PixelData)
    except Exception:  # pydicom raises errors of many kinds for damaged files
        return content
