"""From what a network says of a structure to the DSC that is expected of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from flareseg.expectation import TERMS, Signs

LARGEST = 1000.0
"""Of an offset or weight that is read."""


@dataclass(frozen=True)
class Calibration:
    """Of one structure: expected DSC = 1 / (1 + exp(-(offset + Σ weight · term))), see `Signs.terms`.

    Attributes:
        offset: of the sum.
        weights: by the term's name; terms that are not named do not count.
    """

    offset: float
    weights: dict[str, float] = field(default_factory=dict)

    def expected_dsc(self, signs: Signs) -> float:
        """Mean DSC of unseen structures of which the network said the same, 0 to 1."""
        terms = signs.terms()
        total = self.offset + sum(weight * terms[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-min(max(total, -50.0), 50.0)))

    def to_json(self) -> dict[str, Any]:
        return {"offset": self.offset, "weights": self.weights}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Calibration:
        """Read what `to_json` wrote; raises ValueError where it makes no sense."""
        weights = {str(name): float(weight) for name, weight in data["weights"].items()}
        result = cls(float(data["offset"]), weights)
        if unknown := set(weights) - set(TERMS):
            raise ValueError(f"a calibration by {', '.join(sorted(unknown))}")
        if any(not abs(number) <= LARGEST for number in (result.offset, *weights.values())):
            raise ValueError(f"a calibration of more than {LARGEST:g}")
        return result
