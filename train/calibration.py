"""The DSC that is expected of a structure, learnt from what the nets of the folds said of cases that they never saw.

A fractional logistic regression on the terms of `flareseg.expectation.Signs`: first with the same weights for every
structure, then for each by itself, held near those: with some 28 cases per structure the common weights are worth most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from flareseg.expectation import TERMS, Signs
from flareseg.model.calibration import Calibration
from train.reporting.unseen import unseen_rows

Array = NDArray[np.float64]

FEWEST_CASES = 8
"""Of a structure that is calibrated."""
NEVER_LESS = ("sureness", "agreement", "kept")
"""Terms of which more never means a lower DSC."""
COMMON_PENALTY, OWN_PENALTY = 0.1, 3.0
"""Of the common weights' squares, and of the squares of what a structure's differ from them."""
BINS = 10
DECIMALS = 4


@dataclass(frozen=True)
class Sample:
    """A structure that a net drew in a case that it had not seen.

    Attributes:
        fold: the net.
        case, structure: what it drew.
        signs: what it said.
        dsc: how good it was, 0 to 1.
    """

    fold: str
    case: str
    structure: str
    signs: Signs
    dsc: float

    @property
    def terms(self) -> list[float]:
        values = self.signs.terms()
        return [values[name] for name in TERMS]


@dataclass(frozen=True)
class Judged:
    """A sample, and what a calibration expected that had been fitted to the other folds."""

    sample: Sample
    expected_dsc: float


def samples_of(rows: Sequence[dict[str, Any]], signs: Sequence[dict[str, Any]]) -> list[Sample]:
    """Blind scores with what the nets said; what was not drawn has no signs and is left out.

    Args:
        rows: of `evaluate`.
        signs: of `evaluate`: what was said in which case, by structure.
    """
    said = {(one["model"], one["case"]): one["structures"] for one in signs}
    result = []
    for row in unseen_rows(rows):
        found = said.get((row["model"], row["case"]), {}).get(row["structure"])
        if found:
            result.append(Sample(row["model"], row["case"], row["structure"], Signs(**found), float(row["dsc"])))
    return result


def fit(samples: Sequence[Sample]) -> dict[str, Calibration]:
    """A calibration for every structure with enough samples."""
    groups = {name: group for name, group in _by_structure(samples).items() if len(group) >= FEWEST_CASES}
    if not groups:
        return {}
    every = np.array([sample.terms for group in groups.values() for sample in group])
    mean, scale = every.mean(0), np.maximum(every.std(0), 1e-3)
    terms = {name: (np.array([one.terms for one in group]) - mean) / scale for name, group in groups.items()}
    dsc = {name: np.array([one.dsc for one in group]) for name, group in groups.items()}
    common = _common(list(terms.values()), list(dsc.values()))
    result = {}
    for number, name in enumerate(groups):
        start = np.array([common[number], *common[len(groups) :]])
        own = _own(terms[name], dsc[name], start)
        weights = own[1:] / scale
        result[name] = Calibration(
            round(float(own[0] - weights @ mean), DECIMALS),
            {term: round(float(weight), DECIMALS) for term, weight in zip(TERMS, weights, strict=True)},
        )
    return result


def judged_by_other_folds(samples: Sequence[Sample]) -> list[Judged]:
    """What is expected of every sample by the calibration that was fitted to the other folds; fewer where those have
    too few samples of its structure."""
    result = []
    for fold in dict.fromkeys(sample.fold for sample in samples):
        known = fit([sample for sample in samples if sample.fold != fold])
        result += [
            Judged(sample, known[sample.structure].expected_dsc(sample.signs))
            for sample in samples
            if sample.fold == fold and sample.structure in known
        ]
    return result


def calibration_error(expected: Sequence[float], dsc: Sequence[float]) -> float:
    """Expected calibration error: mean over bins of a tenth of |mean expected - mean DSC|, weighed by their samples."""
    expected_, dsc_ = np.array(expected), np.array(dsc)
    number = np.minimum((expected_ * BINS).astype(int), BINS - 1)
    gaps = [abs(expected_[number == one].sum() - dsc_[number == one].sum()) for one in np.unique(number)]
    return float(sum(gaps) / len(expected_))


def _by_structure(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    names = dict.fromkeys(sample.structure for sample in samples)
    return {name: [sample for sample in samples if sample.structure == name] for name in names}


def _common(terms: list[Array], dsc: list[Array]) -> Array:
    """An offset for each structure, and then the weights that all share."""
    count = len(terms)
    every, scores = np.concatenate(terms), np.concatenate(dsc)
    owner = np.repeat(np.arange(count), [len(one) for one in terms])

    def loss(values: Array) -> tuple[float, Array]:
        offsets, weights = values[:count], values[count:]
        value, error = _cross_entropy(offsets[owner] + every @ weights, scores)
        gradient = np.concatenate((np.bincount(owner, error, count), every.T @ error + 2 * COMMON_PENALTY * weights))
        return value + COMMON_PENALTY * float(weights @ weights), gradient

    return _minimum(loss, np.zeros(count + len(TERMS)), count)


def _own(terms: Array, dsc: Array, common: Array) -> Array:
    """Offset and weights of one structure."""

    def loss(values: Array) -> tuple[float, Array]:
        value, error = _cross_entropy(values[0] + terms @ values[1:], dsc)
        away = values - common
        away[0] = 0
        gradient = np.concatenate(([error.sum()], terms.T @ error)) + 2 * OWN_PENALTY * away
        return value + OWN_PENALTY * float(away @ away), gradient

    return _minimum(loss, common, 1)


def _minimum(loss: Any, start: Array, offsets: int) -> Array:
    bounds = [(None, None)] * offsets + [(0 if name in NEVER_LESS else None, None) for name in TERMS]
    found: Array = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


def _cross_entropy(logits: Array, dsc: Array) -> tuple[float, Array]:
    """Its sum, and its derivative by the logits."""
    return float((np.logaddexp(0, logits) - dsc * logits).sum()), 1 / (1 + np.exp(-logits)) - dsc
