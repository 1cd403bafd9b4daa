"""One scan laid upon another: all organs together, then each on its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flareseg.errors import InputError
from flareseg.labels import TUMOUR, Structure
from flareseg.results.followup.alignment import Alignment, Fit, Pair, affine, fit_of, rigid, rough
from flareseg.results.followup.timepoint import Timepoint

NOT_STEADY = ("gallbladder", TUMOUR)
"""Besides hollow organs: what is full one day and empty the next says little of where things lie."""
POINTS_TOGETHER, POINTS_ALONE = 250, 700
LARGEST_STRAIN = 0.3
MOST_MOVED_MM = 60.0
"""By which an organ moves against the others, at most, breath and all."""
LEAST_SEEN = 0.3
LEAST_DICE = 0.05
"""Of organs that do overlap."""


@dataclass(frozen=True)
class Registration:
    """Where places of the earlier scan lie in the later one.

    Attributes:
        together: by all organs, rotation and translation.
        organs: by value of an organ that hosts lesions, by that organ alone, with strain.
        fits: by value, how well each organ agrees by rotation and translation alone.
    """

    together: Alignment
    organs: dict[int, Alignment]
    fits: dict[int, Fit]

    def of(self, host: Structure | None) -> Alignment:
        """The alignment for what lies in an organ, or in none."""
        return self.organs.get(host.value, self.together) if host else self.together


def register(earlier: Timepoint, later: Timepoint) -> Registration:
    """Lay one scan upon another; of the organs, those in which lesions lie are fitted one by one with strain.

    Raises:
        InputError: where they show no organ in common, or none overlaps.
    """
    hosts = {lesion.host.value for scan in (earlier, later) for lesion in scan.lesions if lesion.host}
    both = {value: structure for value, structure in earlier.present.items() if value in later.present}
    steady = {value for value, structure in both.items() if _is_steady(structure)}
    wanted = [value for value in both if value in steady | hosts] or [v for v in both if both[v].name != TUMOUR]
    pairs = {value: (earlier.organ(value), later.organ(value)) for value in wanted}
    firm = {value: pair for value, pair in pairs.items() if value in steady} or pairs
    if not firm:
        raise InputError(
            f"'{earlier.name}' and '{later.name}' have no organ in common, so that their lesions cannot be paired; "
            "give results of one patient, with organs in them."
        )
    chosen = list(firm.values())
    together = rigid(chosen, rough(chosen), POINTS_TOGETHER)
    organs, fits = {}, {}
    for value, pair in pairs.items():
        alone = rigid([pair], together, POINTS_ALONE)
        if not _is_likely(alone, together, pair):
            alone = together
        fit = fit_of(pair, alone)
        if value in firm:
            fits[value] = fit
        if fit.seen < LEAST_SEEN or value not in hosts:
            continue
        strained = affine([pair], alone, POINTS_ALONE)
        organs[value] = strained if _is_likely(strained, together, pair) else alone
    if max(fit.dice for fit in fits.values()) < LEAST_DICE:
        raise InputError(
            f"No organ of '{earlier.name}' overlaps with itself in '{later.name}', however they are laid upon each "
            "other; give results of one patient that show the same part of the body."
        )
    return Registration(together, organs, fits)


def _is_steady(structure: Structure) -> bool:
    return not structure.hollow and structure.name not in NOT_STEADY


def _is_likely(alignment: Alignment, together: Alignment, pair: Pair) -> bool:
    """Whether an organ may have moved and changed so."""
    strain = np.abs(np.linalg.svd(alignment.matrix, compute_uv=False) - 1).max()
    centre = pair[0].centre[None]
    moved = float(np.linalg.norm(alignment.of(centre) - together.of(centre)))
    return bool(strain <= LARGEST_STRAIN and moved <= MOST_MOVED_MM)
