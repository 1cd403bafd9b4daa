"""How sure a network is of its labels, on the CT's grid."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from flareseg.inference.head import Logits, grid_of, slabs_of
from flareseg.volume import Index

SLICES = 8
"""Of the network's grid at a time: softmax in single precision needs room for every class."""


def confidence_of(logits: Logits, out_shape_zyx: Index) -> NDArray[np.uint8]:
    """Softmax probability of the class that wins, in per cent.

    Args:
        logits: (classes, z, y, x) on the network's grid.
        out_shape_zyx: of the CT's grid over the same box.

    Returns:
        uint8 (z, y, x), interpolated linearly.
    """
    best = torch.empty(grid_of(logits))
    for part, values in slabs_of(logits, SLICES):
        values = values.float()
        best[part] = (values.amax(0) - torch.logsumexp(values, 0)).exp().cpu()
    if best.shape != out_shape_zyx:
        best = F.interpolate(best[None, None], size=out_shape_zyx, mode="trilinear", align_corners=False)[0, 0]
    # in place: every copy would be twice as large as the CT
    return best.mul_(100).round_().clamp_(0, 100).to(torch.uint8).numpy()
