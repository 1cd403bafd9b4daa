"""The slices of a DICOM file: one of a plain image, one per frame of an enhanced multi-frame image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.io.dicom.member import Source
from flareseg.io.dicom.place import Place
from flareseg.io.dicom.values import (
    UnclearValueError,
    date_and_time,
    label,
    seconds,
    text,
    whole_or_none,
)

MOST_FRAMES = 100_000
MOST_WITHOUT_PLACES = 2000
"""Of frames that a file only declares; they are counted, never read."""
APART = (
    "TriggerTime",
    "NominalPercentageOfCardiacPhase",
    "ImageType",
    "ConvolutionKernel",
    "SliceThickness",
    "KVP",
    "ContrastBolusAgent",
    "ImageComments",
)
"""What may differ between two reconstructions, or phases, in one series."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One image.

    Attributes:
        file: where it is stored.
        place: where it lies; None where its header does not say.
        frame: its number in a multi-frame file, from 0; None in a file of one image.
        problem: why there is no place.
        uid: SOPInstanceUID; of a multi-frame file, that of all its frames.
        acquisition, temporal, stack: AcquisitionNumber, temporal position and stack of enhanced images; "" if missing.
        acquired_s, content_s: when it was acquired and when it was made; None if missing.
        order: InstanceNumber and frame; None if missing.
        apart: values of `APART`.
        class_uid: SOPClassUID.
        series_uid: SeriesInstanceUID; slices that were joined may have different ones.
    """

    file: Source
    place: Place | None
    frame: int | None = None
    problem: str = ""
    uid: str = ""
    acquisition: str = ""
    temporal: str = ""
    stack: str = ""
    acquired_s: float | None = None
    content_s: float | None = None
    order: tuple[int, int] | None = None
    apart: tuple[str, ...] = ()
    class_uid: str = ""
    series_uid: str = ""

    @property
    def name(self) -> str:
        return self.file.name if self.frame is None else f"{self.file.name}, frame {self.frame + 1}"


def slices_of(file: Source, header: Any) -> list[Slice]:
    """The slices of a file; those that cannot be used say why."""
    groups = _items(header, "PerFrameFunctionalGroupsSequence")
    if groups or _items(header, "SharedFunctionalGroupsSequence"):
        return _enhanced(file, header, groups)
    frames = whole_or_none(header, "NumberOfFrames") or 1
    if frames > 1:
        plain = _plain(file, header, problem=f"its {frames:.6g} frames have no positions")
        return _without_places(plain, frames)
    return [_plain(file, header)]


def _without_places(plain: Slice, declared: int) -> list[Slice]:
    """Frames that cannot be used: as many as the header declares, which may be any number."""
    first = plain.order[0] if plain.order else None
    return [
        replace(plain, frame=frame, order=None if first is None else (first, frame))
        for frame in range(min(declared, MOST_WITHOUT_PLACES))
    ]


def _plain(file: Source, header: Any, problem: str = "") -> Slice:
    place = None
    if not problem:
        try:
            place = Place.of(header, header, header, header)
        except UnclearValueError as error:
            problem = str(error)
    instance = whole_or_none(header, "InstanceNumber")
    date = text(header, "AcquisitionDate")
    acquired = seconds(date, text(header, "AcquisitionTime"))
    return Slice(
        file,
        place,
        None,
        problem,
        text(header, "SOPInstanceUID"),
        label(header, "AcquisitionNumber"),
        label(header, "TemporalPositionIdentifier"),
        "",
        acquired if acquired is not None else date_and_time(text(header, "AcquisitionDateTime")),
        seconds(text(header, "ContentDate"), text(header, "ContentTime")),
        None if instance is None else (instance, 0),
        tuple(text(header, keyword) for keyword in APART),
        text(header, "SOPClassUID"),
        text(header, "SeriesInstanceUID"),
    )


def _enhanced(file: Source, header: Any, groups: list[Any]) -> list[Slice]:
    """The frames of an enhanced image, whose functional groups say once or for each frame where it lies."""
    plain = _plain(file, header, problem="of many frames")
    declared = whole_or_none(header, "NumberOfFrames") or 1
    if declared > MOST_FRAMES or len(groups) not in (0, declared):
        problem = f"it has {declared:.6g} frames, but places of {len(groups)}"
        return _without_places(replace(plain, problem=problem), declared)
    shared = next(iter(_items(header, "SharedFunctionalGroupsSequence")), None)
    return [_frame(file, header, frame, groups[frame] if groups else None, shared, plain) for frame in range(declared)]


def _frame(file: Source, header: Any, frame: int, own: Any, shared: Any, plain: Slice) -> Slice:
    """A frame of an enhanced image; `plain` has what the header says of all frames."""

    def macro(keyword: str) -> Any:
        return _macro(own, shared, keyword)

    place, problem = None, ""
    measures = macro("PixelMeasuresSequence")
    try:
        place = Place.of(header, macro("PlanePositionSequence"), macro("PlaneOrientationSequence"), measures)
    except UnclearValueError as error:
        problem = str(error)
    content, temporal = macro("FrameContentSequence"), macro("TemporalPositionSequence")
    cardiac, kind = macro("CardiacSynchronizationSequence"), macro("CTImageFrameTypeSequence")
    return replace(
        plain,
        place=place,
        frame=frame,
        problem=problem,
        acquisition=_label(content, "FrameAcquisitionNumber")
        or _label(content, "AcquisitionNumber")
        or plain.acquisition,
        temporal=_label(content, "TemporalPositionIndex") or _label(temporal, "TemporalPositionTimeOffset"),
        stack=_label(content, "StackID"),
        acquired_s=date_and_time(_label(content, "FrameAcquisitionDateTime")),
        content_s=date_and_time(_label(content, "FrameReferenceDateTime")),
        order=(plain.order[0] if plain.order else 0, frame),
        apart=(
            _label(cardiac, "NominalCardiacTriggerDelayTime"),
            _label(cardiac, "NominalPercentageOfCardiacPhase"),
            _label(kind, "FrameType") or plain.apart[2],
            plain.apart[3],
            _label(measures, "SliceThickness") or plain.apart[4],
            *plain.apart[5:],
        ),
    )


def thickness_of(slice_: Slice) -> str:
    """SliceThickness as written; "" if missing."""
    return slice_.apart[APART.index("SliceThickness")] if slice_.apart else ""


def frame_item(header: Any, frame: int, keyword: str) -> Any | None:
    """The item of a functional group of a frame: its own, or that of all frames; None where there is none."""
    groups = _items(header, "PerFrameFunctionalGroupsSequence")
    shared = next(iter(_items(header, "SharedFunctionalGroupsSequence")), None)
    return _macro(groups[frame] if frame < len(groups) else None, shared, keyword)


def _macro(own: Any, shared: Any, keyword: str) -> Any | None:
    return next((item for part in (own, shared) for item in _items(part, keyword)[:1]), None)


def _items(header: Any, keyword: str) -> list[Any]:
    """The items of a sequence; none where it is missing or damaged."""
    if header is None:
        return []
    try:
        return [item for item in header.get(keyword) or [] if hasattr(item, "get_item")]
    except Exception:  # pydicom raises errors of many kinds for damaged sequences
        return []


def _label(header: Any, keyword: str) -> str:
    return "" if header is None else label(header, keyword)


def alike(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Slices that say where they lie, by likeness; the largest group first."""
    exact: dict[tuple[Any, ...], list[Slice]] = defaultdict(list)
    for slice_ in slices:
        if slice_.place is not None:
            exact[slice_.place.kind()].append(slice_)
    groups: list[tuple[Place, list[Slice]]] = []
    # The most frequent values come first, so that those that differ a little are measured against them.
    for members in sorted(exact.values(), key=len, reverse=True):
        place = members[0].place
        assert place is not None
        group = next((group for first, group in groups if not place.difference(first)), None)
        if group is None:
            groups.append((place, list(members)))
        else:
            group.extend(members)
    return sorted((group for _, group in groups), key=len, reverse=True)


def depths_mm(slices: Iterable[Slice]) -> NDArray[np.float64]:
    """Positions of alike slices along the normal of the first one."""
    places = [slice_.place for slice_ in slices if slice_.place is not None]
    if not places:
        return np.zeros(0)
    return np.array([place.position_xyz_mm for place in places]) @ places[0].normal()
