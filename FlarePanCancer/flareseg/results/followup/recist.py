"""RECIST 1.1 by the numbers: which lesions count, the sum of their diameters, and the category that follows from it.

Eisenhauer et al., "New response evaluation criteria in solid tumours: Revised RECIST guideline (version 1.1)", Eur J
Cancer 2009. Organs of two sides count as one, as in the EORTC's answers to questions about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flareseg.results.followup.tracks import Track, longest_of

LEAST_MM, LEAST_SLICES = 10.0, 2
MOST_TARGETS, MOST_IN_AN_ORGAN = 5, 2
PARTIAL, PROGRESS = -0.3, 0.2
PROGRESS_MM = 5.0
CATEGORIES = {
    "CR": "complete response",
    "PR": "partial response",
    "SD": "stable disease",
    "PD": "progressive disease",
    "NE": "not evaluable",
    "non-CR/non-PD": "lesions, none of which can be measured",
    "none": "no lesion in any scan",
}


@dataclass(frozen=True)
class Response:
    """One scan after the first, against those before it.

    Attributes:
        sum_mm: of the target lesions' diameters, as far as the scan shows them.
        complete: whether it shows all of them whole.
        of_baseline, of_nadir: change against the first and against the smallest sum before, as a share; None where
            that is 0.
        target: category by the target lesions alone.
        overall: category with new lesions and all others.
        new: numbers of the lesions that were not in the first scan.
    """

    sum_mm: float
    complete: bool
    of_baseline: float | None
    of_nadir: float | None
    target: str
    overall: str
    new: tuple[int, ...]


def least_mm(slice_mm: float) -> float:
    """How long a lesion must be to be measured: 10 mm, or twice the thickness of thick slices."""
    return max(LEAST_MM, LEAST_SLICES * slice_mm)


def choose_targets(tracks: Sequence[Track], slice_mm: float) -> dict[int, str]:
    """The largest lesions of the first scan that can be measured, by the number of their track.

    Args:
        tracks: all of them.
        slice_mm: slice thickness of the first scan.

    Returns:
        "" for a target lesion, otherwise why it is none.
    """
    why: dict[int, str] = {}
    organs: Counter[str] = Counter()
    least = least_mm(slice_mm)
    for track in sorted(tracks, key=lambda track: -track.sightings[0].longest_mm):
        organ = track.host.type.value if track.host else ""  # the code of both kidneys is that of a kidney
        if track.first > 0:
            why[track.number] = "new"
        elif track.sightings[0].longest_mm < least:
            why[track.number] = f"below {least:g} mm"
        elif track.sightings[0].cut:
            why[track.number] = "cut by the edge of the scan"
        elif sum(organs.values()) == MOST_TARGETS:
            why[track.number] = f"after the {MOST_TARGETS} largest"
        elif organs[organ] == MOST_IN_AN_ORGAN:
            why[track.number] = f"after the {MOST_IN_AN_ORGAN} largest of its organ"
        else:
            why[track.number] = ""
            organs[organ] += 1
    return why


def sum_of(targets: Sequence[Track], time: int) -> float:
    """Sum of diameters in one scan; lesions that merged count once."""
    found = {lesion.number: longest_of(lesion) for track in targets for lesion in track.sightings[time].lesions}
    return round(sum(found.values()), 1)


def respond(tracks: Sequence[Track], why_not: dict[int, str], time: int) -> Response:
    """The response in one scan after the first.

    Args:
        tracks: all of them.
        why_not: what `choose_targets` gave.
        time: number of the scan, from 1.
    """
    targets = [track for track in tracks if not why_not[track.number]]
    sums = [sum_of(targets, one) for one in range(time + 1)]
    now, baseline = sums[time], sums[0]
    # What an incomplete scan shows is no sum to compare with.
    nadir = min(total for one, total in enumerate(sums[:time]) if _complete(targets, one))
    complete = _complete(targets, time)
    target = _category(now, baseline, nadir, complete) if targets else ""
    new = tuple(track.number for track in tracks if track.first > 0 and track.sightings[time].lesions)
    others = [track for track in tracks if why_not[track.number] and track.first == 0]
    return Response(
        sum_mm=now,
        complete=complete,
        of_baseline=now / baseline - 1 if baseline else None,
        of_nadir=now / nadir - 1 if nadir else None,
        target=target,
        overall=_overall(target, others, time, bool(new)),
        new=new,
    )


def _complete(targets: Sequence[Track], time: int) -> bool:
    return all(track.sightings[time].in_view and not track.sightings[time].cut for track in targets)


def _category(now: float, baseline: float, nadir: float, complete: bool) -> str:
    if now - nadir >= PROGRESS_MM and now >= (1 + PROGRESS) * nadir:
        return "PD"  # whatever the scan does not show would only add to it
    if not complete:
        return "NE"
    if now == 0:
        return "CR"
    return "PR" if now <= (1 + PARTIAL) * baseline else "SD"


def _overall(target: str, others: Sequence[Track], time: int, new: bool) -> str:
    """RECIST 1.1's tables of overall response; whether other lesions progress is for people to see."""
    if new or target == "PD":
        return "PD"
    left = any(track.sightings[time].lesions or not track.sightings[time].in_view for track in others)
    if target == "CR":
        return "PR" if left else "CR"
    if target:
        return target
    if not others:
        return "none"
    if any(track.sightings[time].lesions for track in others):
        return "non-CR/non-PD"
    return "NE" if left else "CR"
