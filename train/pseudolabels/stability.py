"""How stable the pseudo-labels of a case are: among the nets of a round, and from round to round.

Huang et al., winners of FLARE 2022, left out the 76 of 2,000 CTs whose pseudo-labels changed most between rounds:
voxels with another label, over voxels drawn ("Revisiting nnU-Net for Iterative Pseudo Labeling and Efficient Sliding
Window Inference", doi:10.1007/978-3-031-23911-3_16, with https://github.com/Ziyan-Huang/FLARE22).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.data.index import IGNORE
from train.pseudo_config import PseudoConfig

Labels = NDArray[np.uint8]


def overlaid(maps: Sequence[Labels]) -> Labels:
    """Label maps (z, y, x) of one grid as one: what a later one draws, or leaves unknown, covers the earlier ones."""
    result = maps[0]
    for above in maps[1:]:
        result = np.where(above > 0, above, result)
    return result


def instability(labels: Labels, before: Labels | None = None) -> float:
    """The mean of what is unknown and of what has changed, each over the voxels drawn; 0 is perfectly stable.

    Args:
        labels: (z, y, x) pseudo-labels, 255 where the nets do not agree or are not sure.
        before: those of the round before; None: there was none, or none of this case.

    Returns:
        0 where nothing is drawn in both; more than 1 where more has changed than is drawn.
    """
    unknown = labels == IGNORE
    drawn = int(np.count_nonzero(labels))
    parts = [np.count_nonzero(unknown) / max(drawn, 1)]
    if before is not None:
        sure = ~unknown & (before != IGNORE)
        parts.append(np.count_nonzero((labels != before) & sure) / max(drawn, 1))
    return float(np.mean(parts))


@dataclass(frozen=True)
class Verdict:
    """What becomes of the pseudo-labels of a case.

    Attributes:
        used: whether they count.
        weight: how often the case is drawn, 0 to 1.
    """

    used: bool = True
    weight: float = 1.0


def verdict_on(unstable: float, settings: PseudoConfig, *, stands_alone: bool) -> Verdict:
    """What becomes of pseudo-labels of this instability.

    Args:
        unstable: see `instability`.
        settings: of the round.
        stands_alone: whether there are other labels of the case; for these it is drawn as often as any other.
    """
    if settings.largest_instability is not None and unstable > settings.largest_instability:
        return Verdict(used=False, weight=1.0 if stands_alone else 0.0)
    if settings.weigh_unstable and not stands_alone:
        return Verdict(weight=round(max(0.0, 1 - unstable), 4))
    return Verdict()
