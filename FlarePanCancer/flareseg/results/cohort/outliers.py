"""Which cases of a cohort stand out, and why: volumes far from the others', structures that nearly all others have,
little that is expected of a result, and what a case is warned of anyway."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from flareseg.expectation import CHECK_BELOW, is_doubtful
from flareseg.labels import TUMOUR
from flareseg.results.cohort.summary import Found, Summary

FAR = 3.5
"""Modified z-scores beyond it are outliers (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""
LEAST_CASES = 8
"""With fewer there is no usual volume."""
LEAST_SPREAD = 0.05
"""In natural logarithms of a volume: where all cases are nearly alike, 5 % of difference is nothing yet."""
NEARLY_ALL = 0.9
CONSISTENT = 1.4826
"""Times the median absolute deviation is the standard deviation, in a normal distribution."""
MINUS = "\N{MINUS SIGN}"
MISSING, UNSURE = 4.0, 3.0
WEIGHTS = {
    "unusual_volume": 3.0, "low_confidence": UNSURE, "no_contrast": 1.0, "thick_slices": 1.0, "metal": 1.0,
    "cut_off": 0.5,
}  # fmt: skip
SHORT = {
    "unusual_volume": "Unusual for an adult", "low_confidence": "Low confidence", "no_contrast": "No contrast agent",
    "thick_slices": "Thick slices", "metal": "Metal", "cut_off": "Cut off",
}  # fmt: skip
NAMING = ("unusual_volume", "low_confidence", "cut_off")
"""Kinds of warnings of which a list names the structures."""
MOST_WEIGHT = 20.0
UNUSUAL_FROM = 3.0
"""Weight of a reason from which a case is called unusual."""


@dataclass(frozen=True)
class Reason:
    """Why a case stands out.

    Attributes:
        text: some words, for a list.
        weight: how much it counts; 3 and more make a case unusual.
    """

    text: str
    weight: float


@dataclass(frozen=True)
class Standing:
    """How a case stands in its cohort.

    Attributes:
        scores: modified z-score by the structure's name, of the logarithm of its volume: 0 in the middle, ± 1 like a
            standard deviation; only where there are enough cases.
        reasons: the weightiest first.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()

    @property
    def rank(self) -> tuple[float, float]:
        """The higher, the sooner somebody should look: one grave reason comes before many slight ones."""
        return max((reason.weight for reason in self.reasons), default=0.0), sum(one.weight for one in self.reasons)

    @property
    def unusual(self) -> bool:
        return any(reason.weight >= UNUSUAL_FROM for reason in self.reasons)


@dataclass(frozen=True)
class _Usual:
    """Middle and spread of the logarithms of a structure's volumes."""

    middle: float
    spread: float

    def score(self, volume_ml: float) -> float:
        return (math.log(volume_ml) - self.middle) / self.spread


def standings(cases: Sequence[Summary]) -> list[Standing]:
    """How each case stands among `cases`, in their order.

    A volume that the field of view cuts off can only be too large. Tumours are of any size, and stand out by none.
    """
    usual, expected = _usual(cases), _expected(cases)
    return [_standing(case, usual, expected) for case in cases]


def _usual(cases: Sequence[Summary]) -> dict[str, _Usual]:
    logarithms: dict[str, list[float]] = {}
    for case in cases:
        for one in case.structures:
            if one.volume_ml and not one.cut and one.name != TUMOUR:
                logarithms.setdefault(one.name, []).append(math.log(one.volume_ml))
    found = {}
    for name, values in logarithms.items():
        if len(values) >= LEAST_CASES:
            middle = median(values)
            spread = CONSISTENT * median(abs(value - middle) for value in values)
            found[name] = _Usual(middle, max(spread, LEAST_SPREAD))
    return found


def _expected(cases: Sequence[Summary]) -> set[str]:
    """The structures that nearly all cases show."""
    looked: dict[str, int] = {}
    shown: dict[str, int] = {}
    for case in cases:
        for one in case.structures:
            looked[one.name] = looked.get(one.name, 0) + 1
            shown[one.name] = shown.get(one.name, 0) + bool(one.volume_ml)
    return {
        name
        for name, count in looked.items()
        if count >= LEAST_CASES and shown[name] >= NEARLY_ALL * count and name != TUMOUR
    }


def _standing(case: Summary, usual: Mapping[str, _Usual], expected: set[str]) -> Standing:
    scores: dict[str, float] = {}
    reasons: list[Reason] = []
    for one in case.structures:
        if one.volume_ml and one.name in usual:
            score = usual[one.name].score(one.volume_ml)
            if not one.cut or score > 0:
                scores[one.name] = score
                reasons += _far(one, score)
        elif not one.volume_ml and one.name in expected:
            reasons.append(Reason(f"{one.title} not found", MISSING))
        if one.expected_dsc is not None and is_doubtful(one.expected_dsc):
            weight = UNSURE + 10 * (CHECK_BELOW - one.expected_dsc)
            reasons.append(Reason(f"{one.title}: expected DSC {one.expected_dsc:.2f}", weight))
    reasons += _warned(case)
    return Standing(scores, tuple(sorted(reasons, key=lambda reason: -reason.weight)))


def _warned(case: Summary) -> list[Reason]:
    """A reason for each kind of warning, with all structures that it names; low confidence, where the expected DSC has
    not said it."""
    calibrated = any(one.expected_dsc is not None for one in case.structures)
    titles = {one.name: one.title for one in case.structures}
    named: dict[str, list[str]] = {}
    for warning in case.warnings:
        if not (warning.kind == "low_confidence" and calibrated):
            named.setdefault(warning.kind, []).extend(titles.get(name, name).lower() for name in warning.structures)
    return [
        Reason(SHORT.get(kind, kind) + (f": {', '.join(of)}" if kind in NAMING and of else ""), WEIGHTS.get(kind, 1.0))
        for kind, of in named.items()
    ]


def _far(one: Found, score: float) -> list[Reason]:
    if abs(score) < FAR:
        return []
    signed = f"{score:+.1f}".replace("-", MINUS)
    return [Reason(f"{one.title} {'large' if score > 0 else 'small'} (z {signed})", min(abs(score), MOST_WEIGHT))]
