"""Tumours from a net of their own, laid over the organs that the main net found."""

from __future__ import annotations

import torch

SLICES = 8
"""At a time, so that what is compared stays in the cache."""


def lay_tumours(logits: torch.Tensor, channel: int, tumour_logits: torch.Tensor, tumour_channel: int) -> None:
    """Let the tumours' net decide where the tumour wins, and by how much; elsewhere the organs stay as they are.

    As logits, not as labels: so a tumour's border is interpolated to the CT's grid as smoothly as an organ's.

    Args:
        logits: (classes, z, y, x) of the main net, changed in place.
        channel: of the tumour in `logits`; what the main net says there is lost.
        tumour_logits: (classes, z, y, x) of the tumours' net on the same grid, with classes of its own.
        tumour_channel: of the tumour in `tumour_logits`.
    """
    organs = [number for number in range(len(logits)) if number != channel]
    others = [number for number in range(len(tumour_logits)) if number != tumour_channel]
    for start in range(0, logits.shape[1], SLICES):
        mine = logits[:, start : start + SLICES]
        its = tumour_logits[:, start : start + SLICES].to(mine.device).float()
        lead = its[tumour_channel] - its[others].amax(0)
        mine[channel] = mine[organs].float().amax(0) + lead
