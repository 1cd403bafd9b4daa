"""Groups of slices that continue each other, joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from flareseg.io.dicom.acquisitions import Group, are_rotations, usual_step_mm
from flareseg.io.dicom.slices import Slice, thickness_of

NEAR, APART, BEYOND = 0.25, 0.75, 1.5
"""Shares of the usual distance: up to NEAR two slices share a place, from APART on they are neighbours, up to BEYOND
nothing is missing between them."""
MOST_SHARED = 2
"""Places that one acquisition may share with the one that it continues."""
SAME_STEP = 0.02
FEW_MISSING = 5.0
"""A gap of up to this many usual distances in one acquisition is one of missing slices."""
BOLUS_BESIDE = 10
"""Beside a group of this many slices, several single images at one place are those of a bolus tracking."""


@dataclass(frozen=True, eq=False)
class Chain:
    """One scan: groups that continue each other.

    Attributes:
        groups: in the order of acquisition.
        slices: by ascending depth.
        depths: in mm.
        shared: slices left out because a neighbouring group has one at the same place.
        rotations: whether the groups are rotations of one scan, which are no acquisitions.
    """

    groups: tuple[Group, ...]
    slices: tuple[Slice, ...]
    depths: NDArray[np.float64]
    shared: tuple[Slice, ...] = field(default=())
    rotations: bool = False

    @property
    def low_mm(self) -> float:
        return float(self.depths[0])

    @property
    def high_mm(self) -> float:
        return float(self.depths[-1])

    @property
    def extent_mm(self) -> float:
        return self.high_mm - self.low_mm

    def step_mm(self) -> float:
        return usual_step_mm(self.depths)

    def has_gap(self) -> bool:
        steps = np.diff(self.depths)
        return len(steps) > 1 and bool((steps[1:-1] > BEYOND * self.step_mm()).any())


def chains_of(groups: Sequence[Group]) -> list[Chain]:
    """Groups in the order of acquisition, those that continue each other as one."""
    every = np.concatenate([group.depths for group in groups])
    usual = usual_step_mm(every)
    alone = _bolus_images(groups, usual)
    chains: list[Chain] = []
    for group in groups:
        new = Chain((group,), group.slices, group.depths)
        for position in reversed(range(len(chains))):
            if alone & {id(group), *map(id, chains[position].groups)}:
                continue
            merged = _continued(chains[position], new, usual)
            if merged is not None:
                chains[position] = merged
                break
        else:
            chains.append(new)
    while _join_once(chains, alone, usual):
        pass
    return _reunited(chains, are_rotations(groups))


def _join_once(chains: list[Chain], alone: set[int], usual: float) -> bool:
    """Join the first two chains between which a later group closed the gap; False where there are none."""
    for later in range(1, len(chains)):
        for earlier in range(later):
            if alone & {id(group) for at in (earlier, later) for group in chains[at].groups}:
                continue
            merged = _continued(chains[earlier], chains[later], usual)
            if merged is not None:
                chains[earlier] = merged
                del chains[later]
                return True
    return False


def _bolus_images(groups: Sequence[Group], usual: float) -> set[int]:
    """Ids of groups of one image of which several lie at one place, beside a real scan."""
    if max(len(group.slices) for group in groups) < BOLUS_BESIDE:
        return set()
    singles = [group for group in groups if len(group.slices) == 1]
    return {
        id(one)
        for one in singles
        if any(other is not one and abs(other.depths[0] - one.depths[0]) <= NEAR * usual for other in singles)
    }


def _continued(chain: Chain, new: Chain, usual: float) -> Chain | None:
    """Both as one, where one goes on where the other ends or fills its gaps; None where they do not fit."""
    large, small = (chain, new) if len(chain.slices) >= len(new.slices) else (new, chain)
    steps = [one.step_mm() for one in (large, small) if len(one.slices) > 2]
    step = steps[0] if steps else usual
    if step <= 0 or (len(steps) == 2 and _fills_no_gap(large, small) and abs(steps[1] - steps[0]) > SAME_STEP * step):
        return None
    if len({thickness_of(one.slices[0]) for one in (large, small)} - {""}) > 1:
        return None
    if len(small.slices) > 1 and small.extent_mm < NEAR * step:  # all at one place: a bolus tracking
        return None
    nearest = np.abs(small.depths[:, None] - large.depths[None, :]).min(axis=1)
    on_it = nearest <= NEAR * step
    if ((nearest > NEAR * step) & (nearest < APART * step)).any() or on_it.all():
        return None
    if nearest[~on_it].min() > BEYOND * step or not _is_end(on_it, large, small, step):
        return None
    kept = [one for one, drop in zip(small.slices, on_it, strict=True) if not drop]
    dropped = [one for one, drop in zip(small.slices, on_it, strict=True) if drop]
    depths = np.concatenate([large.depths, small.depths[~on_it]])
    order = np.argsort(depths, kind="stable")
    slices = [*large.slices, *kept]
    return Chain(
        groups=chain.groups + new.groups,
        slices=tuple(slices[i] for i in order),
        depths=depths[order],
        shared=(*chain.shared, *new.shared, *dropped),
    )


def _fills_no_gap(large: Chain, small: Chain) -> bool:
    return small.low_mm > large.high_mm - 1e-6 or small.high_mm < large.low_mm + 1e-6


def _is_end(on_it: NDArray[np.bool_], large: Chain, small: Chain, step: float) -> bool:
    """Whether the shared places are the few at which one ends and the other begins."""
    count = int(on_it.sum())
    if not count:
        return True
    if count > MOST_SHARED or (count > 1 and count * 4 > len(small.slices)):
        return False
    reach = (count - 1 + NEAR) * step
    at_low = on_it[:count].all() and abs(small.low_mm - large.high_mm) <= reach
    at_high = on_it[-count:].all() and abs(small.high_mm - large.low_mm) <= reach
    return bool(at_low or at_high)


def _reunited(chains: list[Chain], rotations: bool) -> list[Chain]:
    """Chains with one name, or of rotations, with a small gap between them: one scan that lacks slices."""
    found: list[Chain] = []
    for chain in sorted(chains, key=lambda one: one.low_mm):
        before = next((one for one in reversed(found) if _lacks_slices_between(one, chain, rotations)), None)
        if before is None:
            found.append(chain)
            continue
        position = next(i for i, one in enumerate(found) if one is before)
        found[position] = replace(
            before,
            groups=before.groups + chain.groups,
            slices=before.slices + chain.slices,
            depths=np.concatenate([before.depths, chain.depths]),
            shared=before.shared + chain.shared,
        )
    first = {id(group): number for number, group in enumerate(group for chain in chains for group in chain.groups)}
    found.sort(key=lambda chain: min(first[id(group)] for group in chain.groups))
    return [replace(chain, rotations=rotations) for chain in found]


def _lacks_slices_between(low: Chain, high: Chain, rotations: bool) -> bool:
    names = {group.name for group in (*low.groups, *high.groups)}
    step = max(low.step_mm(), high.step_mm())
    gap = high.low_mm - low.high_mm
    return (rotations or len(names) == 1) and step > 0 and BEYOND * step < gap <= FEW_MISSING * step
