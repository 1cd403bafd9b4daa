"""Which series of a DICOM input is the CT."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from flareseg.errors import InputError
from flareseg.io.dicom.series import Found, Series, listed

RIVAL_SHARE = 0.25
"""A series with fewer slices, or a shorter extent, than this share of the largest one's is no rival: bolus tracking,
dose reports."""
MOST_LISTED = 12


def choose(path: Path, found: Found, force: bool, wanted: str | None) -> tuple[Series, str | None]:
    """The series to read, and the number of its acquisition where the user names one.

    Args:
        path: for messages.
        found: what there is.
        force: take another modality where there is no CT.
        wanted: number or UID, with a point and the acquisition's number where one of several is meant.

    Raises:
        InputError: when there is none, or several to choose from.
    """
    every = list(found.series)
    if not every:
        damaged = f", but {len(found.lost)} damaged or missing ones" if found.lost else ""
        raise InputError(f"'{path}' holds no DICOM images{damaged}.")
    acquisition = None
    if wanted is not None:
        named, acquisition = _named(every, str(wanted).strip())
        if not named:
            raise InputError(f"'{path}' has no series {wanted}; there are: {_listed(every)}.")
        candidates = [series for series in named if not series.localiser] or named
        candidates = [series for series in candidates if series.modality == "CT"] or candidates
        if not force and candidates[0].modality != "CT":
            raise InputError(
                f"Series {wanted} in '{path}' is {candidates[0].modality}, not CT; use --force to take it."
            )
    else:
        candidates = [series for series in every if series.modality == "CT" and not series.localiser]
        if not candidates and force:
            candidates = every
    if not candidates:
        if any(series.modality == "CT" for series in every):
            raise InputError(f"'{path}' holds nothing of a CT but localisers.")
        kinds = Counter(series.modality for series in every)
        found_kinds = ", ".join(f"{kind} ({count} series)" for kind, count in sorted(kinds.items()))
        raise InputError(f"'{path}' holds no CT series; there is: {found_kinds}.")
    rivals = _rivals(candidates)
    if len(rivals) > 1 and all(len(series.slices) == 1 for series in rivals):
        raise InputError(
            f"'{path}' holds {len(rivals)} CT images, each of a series of its own (SeriesInstanceUID), that do not "
            "agree in study, number and size; export the series again, or convert it to NIfTI with 3D Slicer."
        )
    if len(rivals) > 1:
        raise InputError(
            f"'{path}' holds {len(rivals)} CT series; choose with --series NUMBER (or UID): {_listed(rivals)}."
        )
    return rivals[0], acquisition


def _named(every: list[Series], wanted: str) -> tuple[list[Series], str | None]:
    """The series that are called so, or so with a point and an acquisition."""
    exact = [series for series in every if wanted in (series.number, series.uid, *series.also)]
    if exact:
        return exact, None
    for series in every:
        for name in filter(None, (series.number, series.uid)):
            if wanted.startswith(f"{name}."):
                same = [one for one in every if name in (one.number, one.uid)]
                return same, wanted[len(name) + 1 :]
    return [], None


def _rivals(candidates: list[Series]) -> list[Series]:
    """The largest series and those of its size: by extent first, since images at one place are no scan."""
    if len(candidates) == 1:
        return candidates
    extents = [series.extent_mm() for series in candidates]
    long = [
        series
        for series, extent in zip(candidates, extents, strict=True)
        if extent >= RIVAL_SHARE * max(extents) or not max(extents)
    ]
    most = max(len(series.slices) for series in long)
    return [series for series in long if len(series.slices) >= RIVAL_SHARE * most]


def _listed(series: list[Series]) -> str:
    more = f"; and {len(series) - MOST_LISTED} more" if len(series) > MOST_LISTED else ""
    return listed(series[:MOST_LISTED]) + more
