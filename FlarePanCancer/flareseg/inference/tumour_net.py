"""Tumours from a net of their own, merged with the organs that the main net found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from flareseg.labels import TUMOUR
from flareseg.model.plan import LesionRule, Plan

SLICES = 8
"""At a time, so that what is compared stays in the cache."""


@dataclass(frozen=True)
class TumourLogits:
    """What one net says of tumours, beside its other classes.

    Attributes:
        logits: (classes, z, y, x).
        channel: of the tumour.
    """

    logits: torch.Tensor
    channel: int


def tumour_channel(plan: Plan) -> int:
    """The output channel of the tumour."""
    return next(channel for channel, name in plan.labels.items() if name == TUMOUR)


def merge_tumour_logits(main: TumourLogits, tumours: TumourLogits, rule: LesionRule) -> None:
    """Let the tumours' net decide where the tumour wins, and by how much; elsewhere the organs stay as they are.

    As logits, not as labels: so a tumour's border is interpolated to the CT's grid as smoothly as an organ's.

    Args:
        main: of the main net, changed in place; what it says of the tumour is lost.
        tumours: of the tumours' net, with classes of its own, on a grid that fills the same part of the CT.
        rule: how sure the tumours' net must be.
    """
    logits, channel = main.logits, main.channel
    organs = [number for number in range(len(logits)) if number != channel]
    margin = _margin(tumours).sub_(rule.lead)
    if rule.peak > rule.lead:
        margin = _without_faint_ones(margin, rule.peak - rule.lead)
    margin = margin.to(logits.device)
    if margin.shape != logits.shape[1:]:
        margin = F.interpolate(margin[None, None], size=logits.shape[1:], mode="trilinear", align_corners=False)[0, 0]
    for start in range(0, logits.shape[1], SLICES):
        slab = logits[:, start : start + SLICES]
        slab[channel] = slab[organs].float().amax(0) + margin[start : start + SLICES]


def _margin(tumours: TumourLogits) -> torch.Tensor:
    """(z, y, x) float32: by how much the tumour exceeds the best of the other classes."""
    logits = tumours.logits
    others = [number for number in range(len(logits)) if number != tumours.channel]
    margin = logits[tumours.channel].to(torch.float32, copy=True)
    for start in range(0, logits.shape[1], SLICES):
        margin[start : start + SLICES] -= logits[others, start : start + SLICES].float().amax(0)
    return margin


def _without_faint_ones(margin: torch.Tensor, seed_threshold: float) -> torch.Tensor:
    """`margin` with its sign turned in every component (26-connected) above 0 that never reaches the threshold.

    Hysteresis thresholding: faint borders of a clear lesion are drawn, a lesion that is faint everywhere is not.
    """
    import cc3d

    values = margin.cpu().numpy()
    parts, count = cc3d.connected_components(values > 0, connectivity=26, return_N=True)
    faint = np.zeros(count + 1, bool)
    faint[1:] = np.asarray(ndimage.maximum(values, parts, range(1, count + 1))) < seed_threshold
    sign = np.where(faint, np.float32(-1), np.float32(1))
    return torch.from_numpy(values * sign[parts])
