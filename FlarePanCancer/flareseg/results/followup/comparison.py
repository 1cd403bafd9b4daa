"""The follow-up as a whole: lesions, sums, organs, and what a reader should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from flareseg import labels
from flareseg.labels import TUMOUR, Structure
from flareseg.results.followup.recist import (
    PROGRESS,
    PROGRESS_MM,
    Response,
    choose_targets,
    respond,
    sum_of,
)
from flareseg.results.followup.registration import Registration, register
from flareseg.results.followup.timepoint import Timepoint
from flareseg.results.followup.tracks import Track, follow

COMPACT = ("liver", "right_kidney", "left_kidney", "spleen")
"""Large organs whose shape hardly changes; that of other patients differs."""
LEAST_DICE, USUAL_DICE = 0.84, 0.9
"""Their mean overlap, laid upon each other by rotation and translation, in two scans of one patient: see
docs/followup.md."""

OTHER_PHASE_HU = {"aorta": 50.0, "liver": 30.0}
"""Means that differ by more are of different contrast phases, see `Structure.typical_hu`."""


@dataclass(frozen=True)
class Organ:
    """An organ in every scan, its lesions included.

    Attributes:
        structure: which.
        volume_ml: in each scan; None where it was not found.
        cut: in each scan, whether the field of view may have cut it off.
    """

    structure: Structure
    volume_ml: tuple[float | None, ...]
    cut: tuple[bool, ...]

    def change(self, time: int) -> float | None:
        """Of the volume against the first scan, as a share; None where that cannot be told."""
        before, now = self.volume_ml[0], self.volume_ml[time]
        return now / before - 1 if before and now is not None and not (self.cut[0] or self.cut[time]) else None


@dataclass(frozen=True)
class FollowUp:
    """Two or more scans of one patient, side by side.

    Attributes:
        times: the scans, in order.
        tracks: every lesion through all of them.
        why_not: by a track's number, why it is no target lesion; "" for one that is.
        sums_mm: of the target lesions' diameters in each scan.
        responses: one for each scan but the first.
        organs: in the order of the table of structures.
        dice: of the organs whose shape hardly changes, mean overlap of each scan with the one before; None where
            they do not show such an organ.
        notes: sentences a reader should see.
    """

    times: tuple[Timepoint, ...]
    tracks: tuple[Track, ...]
    why_not: dict[int, str]
    sums_mm: tuple[float, ...]
    responses: tuple[Response, ...]
    organs: tuple[Organ, ...]
    dice: tuple[float | None, ...]
    notes: tuple[str, ...]

    def remarks(self, track: Track, time: int) -> list[str]:
        """What is to be said of a lesion in one scan."""
        sighting, texts = track.sightings[time], []
        if not sighting.lesions:
            if not sighting.in_view:
                texts.append("out of view")
            elif time > track.first:
                texts.append("gone")
        elif time == track.first and time:
            seen = any(one.in_view for one in track.sightings[:time])
            texts.append("new" if seen else "new, was out of view before")
        if len(sighting.lesions) > 1:
            texts.append(f"split into {len(sighting.lesions)}")
        if merged := track.merged_with(self.tracks, time):
            texts.append(f"merged with {', '.join(map(str, merged))}")
        if sighting.doubtful:
            texts.append(f"unsure: {sighting.apart_mm:.0f} mm beside its place")
        if sighting.cut:
            texts.append("cut by the edge of the scan")
        return texts


def follow_up(times: Sequence[Timepoint], notes: Sequence[str] = ()) -> FollowUp:
    """Compare scans of one patient.

    Args:
        times: at least two, in the order of their dates.
        notes: what is known already.

    Raises:
        InputError: where two scans show no organ in common, or none overlaps.
    """

    @cache
    def registered(earlier: int, later: int) -> Registration:
        return register(times[earlier], times[later])

    dice = tuple(_compact_dice(registered(time - 1, time), times[time]) for time in range(1, len(times)))
    tracks = tuple(follow(times, registered))
    why_not = choose_targets(tracks, times[0].slice_mm)
    targets = [track for track in tracks if not why_not[track.number]]
    found = FollowUp(
        times=tuple(times),
        tracks=tracks,
        why_not=why_not,
        sums_mm=tuple(sum_of(targets, time) for time in range(len(times))),
        responses=tuple(respond(tracks, why_not, time) for time in range(1, len(times))),
        organs=tuple(_organs(times)),
        dice=dice,
        notes=(),
    )
    own = [*_about_patient(found), *_about_slices(found), *_about_contrast(found), *_about_lesions(found)]
    return FollowUp(**{**vars(found), "notes": (*notes, *own)})


def _compact_dice(registration: Registration, scan: Timepoint) -> float | None:
    dice = [fit.dice for value, fit in registration.fits.items() if scan.present[value].name in COMPACT]
    return float(np.mean(dice)) if dice else None


def _organs(times: Sequence[Timepoint]) -> list[Organ]:
    found = {value: structure for scan in times for value, structure in scan.present.items()}
    rows = []
    for value in sorted(value for value, structure in found.items() if structure.name != TUMOUR):
        volumes = tuple(scan.organ_ml(value) if value in scan.present else None for scan in times)
        cut = tuple(_is_cut(scan, value) for scan in times)
        rows.append(Organ(found[value], volumes, cut))
    return rows


def _is_cut(scan: Timepoint, value: int) -> bool:
    lesions = any(one.touches_border and one.host and one.host.value == value for one in scan.lesions)
    return lesions or any(row.touches_border for row in scan.organs if row.value == value)


def _about_patient(found: FollowUp) -> list[str]:
    notes = []
    for time, dice in enumerate(found.dice, 1):
        if dice is not None and dice < LEAST_DICE:
            before, now = found.times[time - 1].name, found.times[time].name
            notes.append(
                f"The organs of '{before}' and '{now}' agree badly (DSC {dice:.2f}, where one patient has about "
                f"{USUAL_DICE}): see that both are of one patient, and that the organs were found well."
            )
    return notes


def _about_slices(found: FollowUp) -> list[str]:
    slices = [scan.slice_mm for scan in found.times]
    if max(slices) > 1.5 * min(slices):
        texts = ", ".join(f"{mm:g}" for mm in slices)
        return [f"The slices are of different thickness ({texts} mm): small lesions may be seen in one scan only."]
    return []


def _about_contrast(found: FollowUp) -> list[str]:
    """Whether the scans are of one contrast phase, by organs that tell."""
    for name, most in OTHER_PHASE_HU.items():
        means = [row.mean_hu for scan in found.times for row in scan.organs if row.structure == name]
        known = [mean for mean in means if mean is not None]
        if len(known) > 1 and max(known) - min(known) > most:
            texts = " and ".join(f"{mean:.0f}" for mean in known)
            return [
                f"The contrast phase differs ({labels.title_of(name).lower()} of {texts} HU): lesions may be seen in "
                "one scan only, or measure otherwise."
            ]
    return []


def _about_lesions(found: FollowUp) -> list[str]:
    if not found.tracks:
        return ["No lesion in any of the results; not every model looks for lesions."]
    notes = []
    doubtful = [t.number for t in found.tracks if any(one.doubtful for one in t.sightings)]
    if doubtful:
        notes.append(f"Look at {_lesions(doubtful)}: what was paired does not overlap.")
    if hidden := [t.number for t in found.tracks if t.first and not any(s.in_view for s in t.sightings[: t.first])]:
        notes.append(
            f"The place of {_lesions(hidden)} was out of view before; RECIST 1.1 counts as new what is found there."
        )
    last = len(found.times) - 1
    grown = [track.number for track in found.tracks if found.why_not[track.number] and _has_grown(track, last)]
    if grown:
        notes.append(f"Look at {_lesions(grown)}: not among the targets, and grown.")
    return notes


def _has_grown(track: Track, time: int) -> bool:
    before, now = track.sightings[track.first].longest_mm, track.sightings[time].longest_mm
    return track.first < time and now >= (1 + PROGRESS) * before and now - before >= PROGRESS_MM


def _lesions(numbers: Sequence[int]) -> str:
    return f"lesion{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
