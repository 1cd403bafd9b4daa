"""A CT from a folder of DICOM slices: which series it is, and its slices as one upright volume."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flareseg.errors import InputError
from flareseg.io.dicom_slices import AIR_HU, hu_of, quiet_pydicom
from flareseg.io.dicom_stack import Place, upright
from flareseg.volume import Volume

RIVAL_SHARE = 0.25
"""A series with fewer slices than this share of the largest one's is no rival: bolus tracking, dose reports."""
HEADER_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ImageType",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
]


@dataclass(frozen=True)
class Slice:
    """One file of a series; `place` is None where its header does not say where it lies."""

    file: Path
    place: Place | None


@dataclass(frozen=True)
class Series:
    """The slices of one DICOM series that share orientation, size and pixel spacing.

    Attributes:
        uid, number, description, modality: from the header; `number` is "" where there is none.
        slices: in the order of file names.
        localiser: whether it is a scout view.
        frames: images in the first file; more than 1 in an enhanced multi-frame object.
    """

    uid: str
    number: str
    description: str
    modality: str
    slices: tuple[Slice, ...]
    localiser: bool = False
    frames: int = 1

    def __str__(self) -> str:
        place = self.slices[0].place
        size = f", {place.columns} x {place.rows} pixels of {place.spacing_xy_mm[0]:.2f} mm" if place else ""
        distance = f", {self.distance_mm():.2f} mm apart" if place and len(self.slices) > 1 else ""
        title = f" '{self.description}'" if self.description else ""
        return f"{self.number or self.uid}{title} ({self.modality}, {len(self.slices)} slices{distance}{size})"

    def distance_mm(self) -> float:
        """Median distance of neighbouring slices."""
        depths = sorted(slice_.place.depth_mm() for slice_ in self.slices if slice_.place)
        return float(np.median(np.diff(depths))) if len(depths) > 1 else 0.0


def list_series(folder: Path | str) -> list[Series]:
    """The image series in `folder` and the folders below it, the largest first; other files are passed over.

    Raises:
        InputError: when the folder cannot be read.
    """
    return _scan(Path(folder))[0]


def _scan(folder: Path) -> tuple[list[Series], list[Path]]:
    """The image series, and the DICOM files that are damaged, so that nobody can say to which series they belong."""
    try:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
    except OSError as error:
        raise InputError(f"'{folder}' cannot be read: {error.strerror or error}.") from None
    groups: dict[tuple[Any, ...], list[tuple[Path, Any]]] = defaultdict(list)
    seen: set[str] = set()
    damaged: list[Path] = []
    for file in files:
        header = read_header(file)
        if _is_damaged(file, header):
            damaged.append(file)
        if header is None or "Rows" not in header:
            continue
        # Anonymised files may have lost their identifiers: each is then an image of its own, of one nameless series.
        instance = str(header.get("SOPInstanceUID") or file)
        if instance in seen:  # the same image, copied
            continue
        seen.add(instance)
        place = Place.of(header)
        localiser = "LOCALIZER" in [str(word).upper() for word in _words(header.get("ImageType"))]
        kind = place.kind() if place else None
        groups[_uid(header), localiser, kind].append((file, header))
    found = [_series(localiser, members) for (_, localiser, _), members in groups.items()]
    return sorted(found, key=lambda series: (-len(series.slices), series.number, series.uid)), damaged


def series_uid(file: Path) -> str | None:
    """The series a DICOM file belongs to; None where it is no DICOM image."""
    header = read_header(file)
    return _uid(header) if header is not None else None


def read_dicom(folder: Path | str, *, force: bool = False, series: str | None = None) -> Volume:
    """The CT in a DICOM folder, in HU.

    Args:
        folder: searched with all folders below it.
        force: without any CT, take another modality.
        series: number or UID of the series; by default the only CT of a good size.

    Returns:
        int16 HU on an upright grid, slices by ascending position along the normal of their planes. Notes tell of
        uneven distances and of gantry tilt, which is taken out by shifting every slice in its plane.

    Raises:
        InputError: when there is no CT, more than one to choose from, or the slices do not make a volume.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder}'.")
    found, damaged = _scan(folder)
    chosen = _choose(folder, found, force, series)
    if chosen.frames > 1:
        raise InputError(
            f"'{chosen.slices[0].file}' is an enhanced multi-frame image, which cannot be read; "
            "convert it to NIfTI or NRRD first, e.g. with 3D Slicer."
        )
    placed = [(slice_.place, slice_.file) for slice_ in chosen.slices if slice_.place]
    if len(placed) < len(chosen.slices):
        raise InputError(
            f"'{chosen.slices[0].file}' does not say where it lies in the patient, so it is no slice of a volume."
        )
    if len(placed) < 2:
        raise InputError(f"'{folder}' holds a single slice of series {chosen}; a volume is needed.")
    placed.sort(key=lambda pair: pair[0].depth_mm())
    hu, geometry, notes = upright(folder, placed, hu_of, AIR_HU)
    if damaged:
        names = ", ".join(f"'{file.name}'" for file in damaged[:3]) + (", ..." if len(damaged) > 3 else "")
        notes += (f"Damaged DICOM files, {len(damaged)} in all, were left out: {names}.",)
    return Volume(hu, geometry, folder.resolve().name, notes)


def read_header(file: Path) -> Any | None:
    """The data set without its pixels; None where the file is not DICOM or cannot be read."""
    import pydicom

    start = _start(file)
    # Old files lack the preamble and begin with group 0008 at once.
    bare = start[:2] == b"\x08\x00"
    if start[128:] != b"DICM" and not bare:
        return None
    try:
        with quiet_pydicom():
            return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=HEADER_TAGS, force=bare)
    except Exception:  # pydicom raises errors of many kinds for damaged files, which are to be passed over
        return None


def _start(file: Path) -> bytes:
    """The first bytes of a file, with DICOM's preamble and magic word; none of a file that cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(132)
    except OSError:
        return b""


def _is_damaged(file: Path, header: Any | None) -> bool:
    """Whether a DICOM file cannot be read, or is cut off before it says how large its image is."""
    if (header is not None and "Rows" in header) or _start(file)[128:] != b"DICM":
        return False
    kind = getattr(getattr(header, "file_meta", None), "MediaStorageSOPClassUID", None)
    return kind is None or kind.name.endswith("Image Storage")


def _uid(header: Any) -> str:
    return str(header.get("SeriesInstanceUID") or "")


def _words(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _series(localiser: bool, members: list[tuple[Path, Any]]) -> Series:
    header = members[0][1]
    number = header.get("SeriesNumber")
    return Series(
        uid=_uid(header),
        number="" if number is None else str(number),
        description=" ".join(str(header.get("SeriesDescription") or "").split()),
        modality=str(header.get("Modality") or "?"),
        slices=tuple(Slice(file, Place.of(header)) for file, header in members),
        localiser=localiser,
        frames=int(header.get("NumberOfFrames") or 1),
    )


def _choose(folder: Path, found: list[Series], force: bool, wanted: str | None) -> Series:
    if not found:
        raise InputError(f"'{folder}' holds no DICOM images.")
    if wanted is not None:
        named = [series for series in found if str(wanted).strip() in (series.number, series.uid)]
        if not named:
            raise InputError(f"'{folder}' has no series {wanted}; there are: {_listed(found)}.")
        candidates = [series for series in named if not series.localiser] or named
        if not force and candidates[0].modality != "CT":
            raise InputError(
                f"Series {wanted} in '{folder}' is {candidates[0].modality}, not CT; use --force to take it."
            )
    else:
        candidates = [series for series in found if series.modality == "CT" and not series.localiser]
        if not candidates and force:
            candidates = found
    if not candidates:
        if any(series.modality == "CT" for series in found):
            raise InputError(f"'{folder}' holds nothing of a CT but localisers.")
        kinds = Counter(series.modality for series in found)
        told = ", ".join(f"{kind} ({count} series)" for kind, count in sorted(kinds.items()))
        raise InputError(f"'{folder}' holds no CT series; there is: {told}.")
    rivals = [series for series in candidates if len(series.slices) >= RIVAL_SHARE * len(candidates[0].slices)]
    if len({series.uid for series in rivals}) > 1:
        raise InputError(
            f"'{folder}' holds {len(rivals)} CT series; choose with --series NUMBER (or UID): {_listed(rivals)}."
        )
    if len(rivals) > 1:
        raise InputError(
            f"'{folder}': series {rivals[0].number or rivals[0].uid} mixes slices of different size, spacing or "
            f"orientation: {_listed(rivals)}; keep one kind in a folder of its own."
        )
    return candidates[0]


def _listed(series: list[Series]) -> str:
    numbers = Counter(one.number for one in series)
    return "; ".join(f"{one}{f' UID {one.uid}' if one.number and numbers[one.number] > 1 else ''}" for one in series)
