"""The slices of a series that make the volume, and what becomes of all others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flareseg.errors import InputError
from flareseg.io.dicom.acquisitions import SAME_PLACE_SHARE, Group, groups_of
from flareseg.io.dicom.chains import BEYOND, Chain, chains_of
from flareseg.io.dicom.copies import same_pixels
from flareseg.io.dicom.series import Lost, Series
from flareseg.io.dicom.slices import Slice, alike

MOST_LEFT_OUT = 0.05
"""A larger share of slices that cannot be used is an error."""
SAME_REGION = 0.5
"""Scans whose extents overlap by this share of both are phases; others are stretches of the body."""
NO_SCAN_SHARE = 0.25
"""A group of fewer slices than this share of the largest one's is no scan to choose."""
FEWEST_BESIDE_A_LONE_SLICE = 4
MOST_NAMES = 3
MOST_LISTED = 8


@dataclass(frozen=True, eq=False)
class Scan:
    """A chain with the number by which a user may ask for it."""

    label: str
    chain: Chain

    def __str__(self) -> str:
        chain = self.chain
        count = len(chain.slices)
        where = f"{chain.low_mm:.0f} to {chain.high_mm:.0f} mm" if chain.extent_mm else f"at {chain.low_mm:.0f} mm"
        return f"{self.label} ({count} slice{'s' if count > 1 else ''}, {where})"


@dataclass(frozen=True)
class Selection:
    """Slices of one kind by ascending depth, notes on all others, and which were left out and why, as a list."""

    slices: tuple[Slice, ...]
    notes: tuple[str, ...]
    left_out: str = ""


@dataclass(frozen=True)
class _LeftOut:
    """A slice that is not used, and why; `counts` where the volume may lack it."""

    name: str
    reason: str
    counts: bool = True


def select(path: Path, series: Series, acquisition: str | None, lost: Sequence[Lost]) -> Selection:
    """Choose the acquisition, and account for every slice.

    Args:
        path: for messages.
        series: the chosen one.
        acquisition: which of its acquisitions; None for the fullest.
        lost: damaged files that were slices of it.

    Raises:
        InputError: when there is no such acquisition, or too many slices cannot be used.
    """
    placed = [one for one in series.slices if one.place]
    kinds = alike(placed)
    if not kinds:
        first = series.slices[0]
        raise InputError(
            f"'{first.file}' does not say where it lies in the patient ({first.problem}), "
            "so it is no slice of a volume."
        )
    scans = _labelled([chain for kind in kinds for chain in chains_of(groups_of(kind, placed))])
    chosen, why = _asked(path, series, scans, acquisition) if acquisition else _best(scans)
    odd, others = _unlike(chosen, [scan for scan in scans if scan.chain is not chosen.chain])
    kept, left_out = _without_odd_ends(*_without_duplicates(chosen.chain))
    left_out += odd
    left_out += [
        _LeftOut(one.name, one.problem, _may_belong(one, chosen.chain)) for one in series.slices if not one.place
    ]
    left_out += [_LeftOut(one.file.name, one.reason) for one in lost]
    counted = [one for one in left_out if one.counts]
    total = len(kept) + len(counted)
    title = series.number or series.uid
    if len(counted) > MOST_LEFT_OUT * total:
        raise InputError(
            f"'{path}': {len(counted)} of {total} slices of series {title} cannot be used: {_reasons(counted)}; "
            "export the series again, or keep slices of one kind in a folder of their own."
        )
    listed = [scan for scan in scans if scan is chosen or scan in others]
    notes = _acquisition_notes(title, chosen, listed if chosen in listed else [chosen, *listed], why)
    reasons = _reasons(left_out)
    if left_out:
        notes += (f"Slices of series {title} were left out, {len(left_out)} in all: {reasons}.",)
    return Selection(tuple(kept), notes, reasons)


def _labelled(chains: list[Chain]) -> list[Scan]:
    names = [_name(chain.groups) for chain in chains]
    several = Counter(names)
    count: dict[str, int] = defaultdict(int)
    scans = []
    for name, chain in zip(names, chains, strict=True):
        count[name] += 1
        part = str(count[name]) if several[name] > 1 or not name else ""
        scans.append(Scan(".".join(filter(None, (name, part))), chain))
    return scans


def _name(groups: Sequence[Group]) -> str:
    names = list(dict.fromkeys(group.name for group in groups if group.name))
    return "+".join(names) if len(names) <= MOST_NAMES else f"{names[0]}-{names[-1]}"


def _asked(path: Path, series: Series, scans: list[Scan], acquisition: str) -> tuple[Scan, str]:
    """The scan with this number; also a part of one that was joined from several acquisitions."""
    for scan in scans:
        if scan.label == acquisition:
            return scan, "as asked"
    groups = [group for scan in scans for group in scan.chain.groups if group.name == acquisition]
    parts = chains_of(groups) if groups else []
    if len(parts) == 1:
        return Scan(acquisition, parts[0]), "as asked"
    every = _listed(scans)
    raise InputError(
        f"'{path}': series {series.number or series.uid} has no acquisition {acquisition}; there are: {every}."
    )


def _best(scans: list[Scan]) -> tuple[Scan, str]:
    """Of different stretches the longest; of its phases the fullest without gaps, of equally full ones the last."""
    most = max(len(scan.chain.slices) for scan in scans)
    large = [scan for scan in scans if len(scan.chain.slices) >= NO_SCAN_SHARE * most]
    longest = max(large, key=lambda scan: scan.chain.extent_mm)
    phases = [scan for scan in large if scan is longest or _same_region(scan.chain, longest.chain)]
    whole = [scan for scan in phases if not scan.chain.has_gap()] or phases
    fullest = max(len(scan.chain.slices) for scan in whole)
    full = [scan for scan in whole if len(scan.chain.slices) == fullest]
    if len(full) > 1:
        return full[-1], "the last of the fullest ones"
    return full[0], "the fullest one" if len(phases) > 1 else "the longest one"


def _same_region(one: Chain, other: Chain) -> bool:
    first, second = one.slices[0].place, other.slices[0].place
    if first is None or second is None or abs(first.normal() @ second.normal()) < 0.99:
        return False
    common = min(one.high_mm, other.high_mm) - max(one.low_mm, other.low_mm)
    either = max(one.high_mm, other.high_mm) - min(one.low_mm, other.low_mm)
    return common > SAME_REGION * either


def _unlike(chosen: Scan, others: list[Scan]) -> tuple[list[_LeftOut], list[Scan]]:
    """Slices of the chosen acquisition that are of another kind, and the scans that are other acquisitions.

    Slices of another kind at places that the chosen scan has anyway, as those of a bolus tracking, take nothing from
    it: they are acquisitions of their own.
    """
    chain = chosen.chain
    place = chain.slices[0].place
    names = {group.name for group in chain.groups}
    odd: list[_LeftOut] = []
    listed: list[Scan] = []
    for scan in others:
        theirs = scan.chain.slices[0].place
        difference = theirs.difference(place) if theirs and place else ""
        if not difference or not names & {group.name for group in scan.chain.groups} or _is_within(scan.chain, chain):
            listed.append(scan)
        else:
            odd += [_LeftOut(one.name, difference) for one in scan.chain.slices]
    return odd, listed


def _is_within(small: Chain, large: Chain) -> bool:
    """Whether `large` has slices at all places of `small`."""
    first, second = small.slices[0].place, large.slices[0].place
    if first is None or second is None or abs(first.normal() @ second.normal()) < 0.99:
        return False
    step = large.step_mm()
    return bool((np.abs(small.depths[:, None] - large.depths[None, :]).min(axis=1) < step * 0.75).all())


def _may_belong(one: Slice, chain: Chain) -> bool:
    """Whether a slice without a place may be one of the chosen scan; an image of another class, such as the page of a
    dose report, is none."""
    classes = {other.class_uid for other in chain.slices}
    acquisitions = {other.acquisition for other in chain.slices}
    return one.class_uid in classes | {""} and one.acquisition in acquisitions | {""}


def _without_duplicates(chain: Chain) -> tuple[list[Slice], list[float], list[_LeftOut]]:
    """One slice at every place.

    Where there are many to leave out, all are kept: nobody can say which of them belong together.
    """
    near = SAME_PLACE_SHARE * chain.step_mm()
    kept: list[Slice] = [chain.slices[0]]
    depths: list[float] = [chain.low_mm]
    left_out: list[_LeftOut] = []
    for one, depth in zip(chain.slices[1:], chain.depths[1:], strict=True):
        if depth - depths[-1] > near or near == 0:
            kept.append(one)
            depths.append(float(depth))
        else:
            neighbour = kept[-2] if len(kept) > 1 else chain.slices[-1]
            first, second = sorted((kept[-1], one), key=lambda each: _resemblance(each, neighbour))
            kept[-1] = second
            what = "a copy of" if same_pixels(first, second) else "at the place of"
            left_out.append(_LeftOut(first.name, f"{what} '{second.name}'"))
    if len(left_out) > MOST_LEFT_OUT * len(chain.slices):
        return list(chain.slices), chain.depths.tolist(), []
    return kept, depths, left_out


def _resemblance(one: Slice, neighbour: Slice) -> tuple[bool, bool, tuple[int, int]]:
    return one.acquisition == neighbour.acquisition, one.apart == neighbour.apart, one.order or (0, 0)


def _without_odd_ends(
    slices: list[Slice], depths: list[float], left_out: list[_LeftOut]
) -> tuple[list[Slice], list[_LeftOut]]:
    """Without a single slice beyond a gap at either end."""
    if len(slices) > FEWEST_BESIDE_A_LONE_SLICE:
        steps = np.diff(depths)
        far = BEYOND * float(np.median(steps))
        start = int(steps[0] > far >= steps[1])
        stop = len(slices) - int(steps[-1] > far >= steps[-2] and len(slices) - start > FEWEST_BESIDE_A_LONE_SLICE)
        for one, step in [(slices[0], steps[0])] * start + [(slices[-1], steps[-1])] * (len(slices) - stop):
            left_out.append(_LeftOut(one.name, f"alone beyond a gap of {step:.1f} mm", counts=False))
        slices = slices[start:stop]
    return slices, left_out


def _reasons(left_out: Sequence[_LeftOut]) -> str:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for one in left_out:
        by_reason[one.reason].append(one.name)
    parts = []
    for reason, names in list(by_reason.items())[:MOST_LISTED]:
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        parts.append(f"{', '.join(repr(name) for name in names[:MOST_NAMES])}{more} ({reason})")
    return ", ".join(parts) + (", and others" if len(by_reason) > MOST_LISTED else "")


def _size(scan: Scan) -> int:
    return len(scan.chain.slices)


def _listed(scans: Sequence[Scan]) -> str:
    more = f" and {len(scans) - MOST_LISTED} more" if len(scans) > MOST_LISTED else ""
    return ", ".join(map(str, scans[:MOST_LISTED])) + more


def _acquisition_notes(title: str, chosen: Scan, scans: Sequence[Scan], why: str) -> tuple[str, ...]:
    """The note that lists all acquisitions, and the one on joined acquisitions."""
    notes: tuple[str, ...] = ()
    others = [scan for scan in scans if scan is not chosen]
    if others:
        notes += (
            f"Series {title} holds {len(scans)} acquisitions: {_listed(scans)}; {chosen.label} was taken, {why}. "
            f"Another one is taken with --series {title}.{max(others, key=_size).label}.",
        )
    groups = chosen.chain.groups
    names = list(dict.fromkeys(group.name for group in groups))
    if len(names) > 1 and not chosen.chain.rotations:
        joined = ", ".join(f"{group.name} ({len(group.slices)} slices)" for group in groups[:MOST_LISTED])
        shared = [one.name for one in chosen.chain.shared]
        dropped = f" One slice was taken where two share a place; left out: {', '.join(shared)}." if shared else ""
        notes += (f"Acquisitions of series {title} that continue each other were joined: {joined}.{dropped}",)
    elif chosen.chain.shared:
        notes += (f"Left out, as others share their places: {', '.join(one.name for one in chosen.chain.shared)}.",)
    return notes
