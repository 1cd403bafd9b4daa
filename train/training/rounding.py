"""Weights with fewer significant bits, which take less room where they are compressed, as in a repository's history."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def rounded(weights: Mapping[str, torch.Tensor], bits: int) -> dict[str, torch.Tensor]:
    """Each weight rounded to so many significant bits."""
    result = {}
    for name, value in weights.items():
        fraction, exponent = torch.frexp(value.float())
        result[name] = torch.ldexp((fraction * 2**bits).round() / 2**bits, exponent)
    return result
