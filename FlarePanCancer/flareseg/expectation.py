"""How sure a network was of what it drew, what score that promises, and in words what should be looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

CHECK_BELOW = 0.7
"""Expected DSC below which a structure is to be checked."""
LEAST, MOST = 0.02, 0.98
"""Probabilities are taken as log odds between these: a net may be surer of itself than any score can show."""
LEAST_ML, MOST_ML = 0.1, 10_000.0


@dataclass(frozen=True)
class Signs:
    """What a network said of one structure that it drew.

    Attributes:
        sureness: mean probability of the structure in the voxels where it won, 0 to 1.
        agreement: soft Dice of these voxels with the probabilities everywhere: 2 Σ p in them / (Σ p + their number).
        volume_ml: what was drawn in the end.
        kept: share of what the network drew that post-processing kept, 0 to 1.
    """

    sureness: float
    agreement: float
    volume_ml: float
    kept: float

    def terms(self) -> dict[str, float]:
        """By name, the numbers that a calibration weighs."""
        return {
            "sureness": _log_odds(self.sureness),
            "agreement": _log_odds(self.agreement),
            "volume": math.log10(min(max(self.volume_ml, LEAST_ML), MOST_ML)),
            "kept": min(max(self.kept, 0.0), 1.0),
        }


@dataclass(frozen=True)
class Expectation:
    """What is known without a reference of one structure that was drawn.

    Attributes:
        signs: what the network said.
        expected_dsc: mean DSC, 0 to 1, that the model reached on unseen CTs where the signs were like these; None where
            the model was not calibrated. `signs.agreement` is what the network thinks itself, which is too much.
    """

    signs: Signs
    expected_dsc: float | None = None


def is_doubtful(expected_dsc: float | None) -> bool:
    """Whether so little is expected of a structure, to two digits, that a reader should check it."""
    return expected_dsc is not None and round(expected_dsc, 2) < CHECK_BELOW


def expected_quality(expected_dsc: float | None) -> str:
    """What a reader should do about a structure; "" where nothing is known, or nothing need be done.

    Example:
        >>> expected_quality(0.554), expected_quality(0.93), expected_quality(None)
        ('check this: expected DSC 0.55', '', '')
    """
    return f"check this: expected DSC {expected_dsc:.2f}" if is_doubtful(expected_dsc) else ""


def _log_odds(share: float) -> float:
    share = min(max(share, LEAST), MOST)
    return math.log(share / (1 - share))


TERMS = tuple(Signs(1, 1, 1, 1).terms())
"""Their names."""
