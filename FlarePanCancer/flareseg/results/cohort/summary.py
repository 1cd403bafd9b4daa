"""What the page of a cohort shows of one case, kept in a small file: it is made while the CT is at hand, and read when
the page is made, after the last case or months later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import UsageError
from flareseg.io.atomic import atomic_path
from flareseg.model.structures import structure_called
from flareseg.results.cohort.pictures import Slice, slices_of
from flareseg.results.measure import Measurement
from flareseg.results.measure import title_of as title_of_row
from flareseg.results.warnings import warnings_of
from flareseg.segmentation import Segmentation
from flareseg.text import as_json
from flareseg.volume import Geometry, Orientation, Volume

STORE = "cohort_cases"
"""The folder beside the page with what it is made of, a file for each case."""
FORMAT = 1
LARGEST_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class Found:
    """One structure that was looked for.

    Attributes:
        name, title: as in `Structure`.
        value: in the label map.
        colour: red, green, blue, 0 to 255.
        volume_ml: None where it was not found.
        cut: whether the field of view may have cut it off, so that the volume is too small.
        expected_dsc: see `Measurement`.
    """

    name: str
    title: str
    value: int
    colour: tuple[int, int, int]
    volume_ml: float | None = None
    cut: bool = False
    expected_dsc: float | None = None


@dataclass(frozen=True, slots=True)
class FoundLesion:
    """One lesion: "Lesion 1, liver", its volume and its longest axial diameter."""

    title: str
    volume_ml: float
    longest_mm: float | None


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning, see `CaseWarning`."""

    kind: str
    text: str
    structures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """One case.

    Attributes:
        model: name and version of the model; "" where several made the labels.
        structures: all that were looked for.
        lesions: the largest first.
        warnings: what a reader should know.
        notes: on how the CT was read.
        labels_sha256: `labels_digest` of the result; "" where that is not known, and no review can refer to it.
        slices: none where the CT is not at hand.
        stamp: size and time of change of the result file.
    """

    model: str
    structures: tuple[Found, ...]
    lesions: tuple[FoundLesion, ...] = ()
    warnings: tuple[Warned, ...] = ()
    notes: tuple[str, ...] = ()
    labels_sha256: str = ""
    slices: tuple[Slice, ...] = ()
    stamp: tuple[int, int] = field(default=(0, 0))


def check_pictures() -> None:
    """Raises UsageError where the pictures of a cohort cannot be made."""
    if find_spec("PIL") is None:
        raise UsageError("The pictures of a cohort need Pillow; run: pip install pillow")


def labels_digest(labels: NDArray[np.uint8], geometry: Geometry) -> str:
    """The SHA-256 by which a review knows the labels that it is of: the same for any file that holds them.

    Args:
        labels: (z, y, x) label values.
        geometry: their grid, of which the directions and the shape count.

    Example:
        >>> labels = np.zeros((2, 3, 4), np.uint8)
        >>> labels_digest(labels, Geometry(labels.shape, (5.0, 1.0, 1.0)))[:12]
        '01d6e0dc8967'
    """
    canonical = Orientation.of(geometry).to_canonical(labels)
    digest = hashlib.sha256(repr(canonical.shape).encode())
    for plane in canonical:
        digest.update(np.ascontiguousarray(plane, np.uint8).data)
    return digest.hexdigest()


def summarise(segmentation: Segmentation, volume: Volume, rows: Sequence[Measurement]) -> Summary:
    """What the page shows of a case.

    Args:
        segmentation: on the grid of `volume`.
        volume: the CT.
        rows: what `measure` gave.

    Raises:
        ImportError: without Pillow.
    """
    told = warnings_of(segmentation, volume, rows)
    return replace(
        summary_of_rows([asdict(row) for row in rows], segmentation.model),
        warnings=tuple(Warned(one.kind, one.text, one.structures) for one in told),
        notes=segmentation.notes,
        labels_sha256=labels_digest(segmentation.labels, segmentation.geometry),
        slices=slices_of(segmentation, volume),
    )


def summary_of_rows(rows: Sequence[Mapping[str, Any]], model: str = "") -> Summary:
    """What rows of measurements alone tell of a case, such as those of a manifest; rows that make no sense are passed
    over.

    Args:
        rows: `Measurement` as tables.
        model: of the case, where the rows do not say.
    """
    found, lesions = [], []
    for row in rows:
        try:
            if row.get("lesion") is None:
                found.append(_found(row))
            else:
                lesions.append(_lesion(row))
            model = str(row.get("model") or model)
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return Summary(model, tuple(found), tuple(lesions))


def _found(row: Mapping[str, Any]) -> Found:
    structure, voxels = structure_called(str(row["structure"]), int(row["value"])), int(row["voxels"])
    return Found(
        name=str(row["structure"]),
        title=structure.title,
        value=structure.value,
        colour=structure.colour,
        volume_ml=_volume(row["volume_ml"]) if voxels else None,
        cut=bool(row["touches_border"]),
        expected_dsc=_number(row.get("expected_dsc")),
    )


def _lesion(row: Mapping[str, Any]) -> FoundLesion:
    about = Measurement("", "", 0, "", int(row["lesion"]), 1, 0.0, None, None, False, host=row.get("host"))
    volume = _number(row["volume_ml"])
    return FoundLesion(title_of_row(about), volume or 0.0, _number(row.get("longest_mm")))


def _number(value: Any) -> float | None:
    """A finite number, or none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return float(value)


def _volume(value: Any) -> float | None:
    """A volume of something, or none."""
    number = _number(value)
    return number if number and number > 0 else None


def write_summary(summary: Summary, path: Path) -> None:
    """Write it, whole or not at all.

    Raises:
        OutputError: when it cannot be written.
    """
    data = {"flareseg_cohort_case": FORMAT} | asdict(summary)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(as_json(data), encoding="utf-8")


def read_summary(path: Path) -> Summary | None:
    """What `write_summary` wrote; None where there is none, or it is damaged or of another version."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["flareseg_cohort_case"] != FORMAT:
            return None
        size, changed = map(int, data["stamp"])
        return Summary(
            model=str(data["model"]),
            structures=tuple(map(_read_found, data["structures"])),
            lesions=tuple(
                FoundLesion(str(one["title"]), _number(one["volume_ml"]) or 0.0, _number(one["longest_mm"]))
                for one in data["lesions"]
            ),
            warnings=tuple(
                Warned(str(one["kind"]), str(one["text"]), tuple(map(str, one["structures"])))
                for one in data["warnings"]
            ),
            notes=tuple(map(str, data["notes"])),
            labels_sha256=str(data["labels_sha256"]),
            slices=tuple(map(Slice.from_json, data["slices"])),
            stamp=(size, changed),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def read_slices(path: Path, labels_sha256: str) -> tuple[Slice, ...]:
    """The pictures alone; none where they are of other labels by now, of which a review would not be."""
    summary = read_summary(path)
    return summary.slices if summary and summary.labels_sha256 == labels_sha256 else ()


def _read_found(data: dict[str, Any]) -> Found:
    red, green, blue = (min(255, max(0, int(channel))) for channel in data["colour"])
    return Found(
        # the same few words in every case
        name=intern(str(data["name"])),
        title=intern(str(data["title"])),
        value=int(data["value"]),
        colour=(red, green, blue),
        volume_ml=_volume(data["volume_ml"]),
        cut=bool(data["cut"]),
        expected_dsc=_number(data["expected_dsc"]),
    )


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; (0, 0) where there is none."""
    try:
        about = path.stat()
    except OSError:
        return 0, 0
    return about.st_size, about.st_mtime_ns
