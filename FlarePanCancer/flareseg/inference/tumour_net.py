"""Tumours from a net of their own, laid over the organs that the main net found."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from flareseg.model.plan import LesionRule

SLICES = 8
"""At a time, so that what is compared stays in the cache."""


def lay_tumours(
    logits: torch.Tensor,
    channel: int,
    tumour_logits: torch.Tensor,
    tumour_channel: int,
    rule: LesionRule,
) -> None:
    """Let the tumours' net decide where the tumour wins, and by how much; elsewhere the organs stay as they are.

    As logits, not as labels: so a tumour's border is interpolated to the CT's grid as smoothly as an organ's.

    Args:
        logits: (classes, z, y, x) of the main net, changed in place.
        channel: of the tumour in `logits`; what the main net says there is lost.
        tumour_logits: (classes, z, y, x) of the tumours' net, with classes of its own, on a grid that fills the same
            part of the CT.
        tumour_channel: of the tumour in `tumour_logits`.
        rule: how sure the tumours' net must be.
    """
    organs = [number for number in range(len(logits)) if number != channel]
    lead = _lead(tumour_logits, tumour_channel).sub_(rule.lead)
    if rule.peak > rule.lead:
        lead = _without_faint_ones(lead, rule.peak - rule.lead)
    lead = lead.to(logits.device)
    if lead.shape != logits.shape[1:]:
        lead = F.interpolate(lead[None, None], size=logits.shape[1:], mode="trilinear", align_corners=False)[0, 0]
    for start in range(0, logits.shape[1], SLICES):
        mine = logits[:, start : start + SLICES]
        mine[channel] = mine[organs].float().amax(0) + lead[start : start + SLICES]


def _lead(logits: torch.Tensor, channel: int) -> torch.Tensor:
    """(z, y, x) float32: by how much a class exceeds the best of the others."""
    others = [number for number in range(len(logits)) if number != channel]
    lead = logits[channel].to(torch.float32, copy=True)
    for start in range(0, logits.shape[1], SLICES):
        lead[start : start + SLICES] -= logits[others, start : start + SLICES].float().amax(0)
    return lead


def _without_faint_ones(lead: torch.Tensor, peak: float) -> torch.Tensor:
    """`lead` turned into its opposite in every component (26-connected) of what is above 0 that never reaches `peak`.

    As in hysteresis thresholding: faint borders of what is clear are drawn, what is faint everywhere is not.
    """
    import cc3d

    values = lead.cpu().numpy()
    parts, count = cc3d.connected_components(values > 0, connectivity=26, return_N=True)
    faint = np.zeros(count + 1, bool)
    faint[1:] = np.asarray(ndimage.maximum(values, parts, range(1, count + 1))) < peak
    sign = np.where(faint, np.float32(-1), np.float32(1))
    return torch.from_numpy(values * sign[parts])
