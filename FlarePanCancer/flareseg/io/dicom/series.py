"""The series in a DICOM input: each with all its slices, and the files that are damaged."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from flareseg.io.contents import APPLE_DOUBLE
from flareseg.io.dicom.copies import without_copies
from flareseg.io.dicom.headers import beginning_of, header_of, is_dicom, lost_its_mark, quiet_pydicom, why_closed
from flareseg.io.dicom.member import Source
from flareseg.io.dicom.slices import Slice, alike, depths_mm, slices_of
from flareseg.io.dicom.sources import Files
from flareseg.io.dicom.values import label, name, text
from flareseg.text import visible

_MODALITIES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",  # Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",  # Legacy Converted Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
    "1.2.840.10008.5.1.4.1.1.130": "PT",
}
"""What an image is by its SOP class."""
UNKNOWN = "?"
FEWEST_SINGLES = 3
"""This many series of one image each, alike in all else, are one scan whose slices got a series UID each."""


@dataclass(frozen=True)
class Series:
    """The slices of one DICOM series.

    Attributes:
        uid, number, description, modality: from the header; `number` is "" where there is none.
        slices: in the order of file names and frames, those that cannot be used included.
        localiser: whether it is a scout view.
        study: StudyInstanceUID; "" where there is none.
        also: further UIDs, where every slice came with one of its own.
    """

    uid: str
    number: str
    description: str
    modality: str
    slices: tuple[Slice, ...]
    localiser: bool = False
    study: str = ""
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        main = self.main()
        place = main[0].place if main else None
        size = f", {place.columns} x {place.rows} pixels of {place.spacing_xy_mm[0]:.2f} mm" if place else ""
        distance = f", {self.distance_mm():.2f} mm apart" if len(main) > 1 else ""
        title = f" '{self.description}'" if self.description else ""
        text = f"{self.number or self.uid}{title} ({self.modality}, {len(self.slices)} slices{distance}{size})"
        return visible(text)  # what a header says breaks no line

    def main(self) -> list[Slice]:
        """The largest group of slices that are alike."""
        return next(iter(alike(self.slices)), [])

    def distance_mm(self) -> float:
        """Median distance of neighbouring slices."""
        depths = np.unique(depths_mm(self.main()))
        return float(np.median(np.diff(depths))) if len(depths) > 1 else 0.0

    def extent_mm(self) -> float:
        """From the lowest to the highest slice."""
        depths = depths_mm(self.main())
        return float(np.ptp(depths)) if len(depths) else 0.0


@dataclass(frozen=True)
class Lost:
    """A file that should be an image, and is none.

    Attributes:
        uid: of its series; None where nobody can say.
    """

    file: Source
    reason: str
    uid: str | None = None


@dataclass(frozen=True)
class Found:
    """What a DICOM input holds.

    Attributes:
        series: the largest first.
        lost: damaged DICOM files.
        strangers: files that are no DICOM.
    """

    series: tuple[Series, ...]
    lost: tuple[Lost, ...]
    strangers: tuple[Source, ...]


def scan(files: Files) -> Found:
    """Read the headers of all files."""
    members: _Members = defaultdict(list)
    lost = [Lost(file, "missing", uid or None) for file, uid in files.missing]
    strangers: list[Source] = []
    with quiet_pydicom():
        for file in files.files:
            beginning = beginning_of(file)
            if not is_dicom(beginning):
                if closed := "" if beginning else why_closed(file):
                    lost.append(Lost(file, f"cannot be read: {closed}"))
                elif lost_its_mark(beginning):
                    lost.append(Lost(file, "its DICM mark is gone"))
                elif not beginning.startswith(APPLE_DOUBLE):
                    strangers.append(file)
                continue
            header = header_of(file, beginning)
            if header is None or not _has_rows(header):
                if beginning[128:132] == b"DICM" and _should_be_image(header):
                    lost.append(Lost(file, "damaged", (text(header, "SeriesInstanceUID") or None) if header else None))
                continue
            localiser = "LOCALIZER" in text(header, "ImageType").upper().split("\\")
            # Objects made from a CT, such as its doses or segmentations, may repeat the UID of its series.
            key = text(header, "SeriesInstanceUID"), localiser, _modality(header)
            members[key].append((_Titles.of(header), slices_of(file, header)))
        series = [_series(*key, group) for key, group in _without_lost_labels(members).items()]
    series = _rejoined(series)
    series.sort(key=lambda one: (-len(one.slices), one.number, one.uid))
    return Found(tuple(series), tuple(lost), tuple(strangers))


def lost_of(series: Series, found: Found) -> tuple[list[Lost], list[Lost]]:
    """The damaged files that were slices of `series`, and those of which nobody can say.

    A file that is no DICOM any more is one of the series where it is called like its slices and lies beside them.
    """
    uids = {series.uid, *series.also}
    places = {_pattern(slice_.file) for slice_ in series.slices}
    others = {_pattern(s.file) for one in found.series if one is not series for s in one.slices}
    sure: list[Lost] = []
    unsure: list[Lost] = []
    strangers = [Lost(file, "no DICOM file any more") for file in found.strangers if _pattern(file) in places]
    for one in (*found.lost, *strangers):
        if one.uid is not None:
            if one.uid in uids:
                sure.append(one)
        elif _pattern(one.file) in places - others:
            sure.append(one)
        else:
            unsure.append(one)
    unsure += [
        Lost(file, "no DICOM file any more")
        for file in found.strangers
        if _pattern(file) not in places and Path(file.name).suffix.lower() in (".dcm", ".ima", ".dicom")
    ]
    return sure, unsure


@dataclass(frozen=True)
class _Titles:
    """What the header of one file says of its series."""

    number: str
    description: str
    study: str

    @classmethod
    def of(cls, header: Any) -> _Titles:
        return cls(
            label(header, "SeriesNumber"),
            name(header, "SeriesDescription"),
            text(header, "StudyInstanceUID"),
        )


_Members: TypeAlias = dict[tuple[str, bool, str], list[tuple[_Titles, list[Slice]]]]
"""What the files hold, by series UID, whether it is a localiser, and modality."""


def _series(uid: str, localiser: bool, modality: str, members: list[tuple[_Titles, list[Slice]]]) -> Series:
    titles = members[0][0]
    studies = {one.study for one, _ in members}
    return Series(
        uid=uid,
        number=titles.number,
        description=titles.description,
        modality=modality,
        slices=tuple(without_copies([slice_ for _, slices in members for slice_ in slices])),
        localiser=localiser,
        study=titles.study if len(studies) == 1 else "",
    )


def _rejoined(series: list[Series]) -> list[Series]:
    """Scans whose slices came with a series UID each, as one series."""
    singles: dict[tuple[Any, ...], list[Series]] = defaultdict(list)
    for one in series:
        place = one.slices[0].place
        if len(one.slices) == 1 and place and one.uid and not one.localiser:
            key = one.study, one.number, one.modality, place.columns, place.rows
            singles[key].append(one)
    joined: list[Series] = []
    for group in singles.values():
        of_uid = {one.slices[0]: one for one in group}
        for slices in alike(one.slices[0] for one in group):
            if len(slices) < FEWEST_SINGLES or not np.ptp(depths_mm(slices)):
                continue
            uids = [of_uid[slice_].uid for slice_ in slices]
            first = of_uid[slices[0]]
            whole = tuple(sorted(slices, key=lambda slice_: slice_.file))
            joined.append(replace(first, slices=tuple(without_copies(list(whole))), also=tuple(uids)))
    taken = {uid for one in joined for uid in one.also}
    return [one for one in series if one.uid not in taken] + joined


def _modality(header: Any) -> str:
    """As the header says it; of an image that lost it, by the SOP class."""
    return text(header, "Modality").upper() or _MODALITIES.get(text(header, "SOPClassUID"), UNKNOWN)


def _without_lost_labels(members: _Members) -> _Members:
    """With the images of a CT series that are CT images by their class, or do not say what they are, as part of it."""
    found: _Members = {key: list(group) for key, group in members.items()}
    for key, group in members.items():
        ct = (*key[:2], "CT")
        classes = {_MODALITIES.get(slice_.class_uid, slice_.class_uid) for _, slices in group for slice_ in slices}
        if key != ct and ct in found and classes <= {"CT", ""}:
            found[ct] += found.pop(key)
    return found


def _has_rows(header: Any) -> bool:
    return bool(text(header, "Rows"))


def _should_be_image(header: Any | None) -> bool:
    """Whether a DICOM file without rows is cut off before it says how large its image is."""
    kind = getattr(getattr(header, "file_meta", None), "MediaStorageSOPClassUID", None)
    return kind is None or str(getattr(kind, "name", "")).endswith("Image Storage")


def _pattern(file: Source) -> tuple[str, str]:
    """A file's folder, and its name with every number, or all of a hexadecimal name, replaced."""
    stem = re.sub(r"^[0-9a-fA-F-]{8,}(?=\.|$)", "#", file.name)
    return str(file.parent), re.sub(r"\d+", "#", stem)


def listed(series: list[Series]) -> str:
    """A list for messages; the UID is given where series have the same number."""
    numbers = Counter(one.number for one in series)
    return "; ".join(f"{one}{f' UID {one.uid}' if one.number and numbers[one.number] > 1 else ''}" for one in series)
