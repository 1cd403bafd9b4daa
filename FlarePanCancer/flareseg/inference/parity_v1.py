"""The answer of nnU-Net v1, where its steps differ from those of version 2 in `parity.py`.

An image is resampled first and clipped and normalised then. Windows, mirrored looks and folds are averaged as
probabilities, in single precision, with a Gaussian that is 1 in the middle (none where one window sees all). Labels are
the highest of the probabilities after these were interpolated.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.inference.confidence import confidence_of
from flareseg.inference.head import Logits, at_hand
from flareseg.inference.logits_to_labels import logits_to_labels
from flareseg.inference.normalization import normalize_
from flareseg.inference.parity import ParityEngine, resample_normalized
from flareseg.inference.resample import nearest_axis
from flareseg.model.plan import Intensity
from flareseg.progress import Progress
from flareseg.volume import Index, Triple

LEAST_PROBABILITY = 1e-30
"""Of which a logarithm is taken."""


@lru_cache(maxsize=4)
def gaussian(window_zyx: Index) -> torch.Tensor:
    """(z, y, x) weights of a window, single precision: a Gaussian of one eighth of it, 1 in the middle, nowhere 0."""
    middle = np.zeros(window_zyx)
    middle[tuple(size // 2 for size in window_zyx)] = 1
    weights = ndimage.gaussian_filter(middle, [size / 8 for size in window_zyx], mode="constant")
    single = torch.from_numpy((weights / weights.max()).astype(np.float32))
    single[single == 0] = single[single > 0].min()
    return single


class V1Engine(ParityEngine):
    """A `ParityEngine` whose logits are probabilities, as nnU-Net v1 averages and interpolates them."""

    def resampled(
        self,
        hu: NDArray[Any],
        spacing_zyx_mm: Triple,
        progress: Progress | None = None,
        intensity: Intensity | None = None,
    ) -> torch.Tensor:
        """(z, y, x) HU, cut to what is not 0, to the plan's grid and normalisation: float32 on the CPU."""
        image = resample_normalized(hu.astype(np.float32, order="C"), spacing_zyx_mm, self.plan, progress)
        return normalize_(image, intensity or self.plan.intensity)

    def labels(
        self, logits: Logits, shape_zyx: Index, spacing_zyx_mm: Triple, progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """(classes, z, y, x) probabilities to the labels on the CT's own grid of `shape_zyx`."""
        # Version 1 looks at the CT's spacing first, on the way back too.
        nearest = nearest_axis(self.plan.resampling, spacing_zyx_mm, self.plan.spacing_zyx_mm)
        return logits_to_labels(at_hand(logits), shape_zyx, nearest, progress)

    def confidence(self, logits: Logits, shape_zyx: Index) -> NDArray[np.uint8]:
        return confidence_of(at_hand(logits).clamp_min(LEAST_PROBABILITY).log(), shape_zyx)

    def _weights(self, windows: int) -> torch.Tensor:
        return gaussian(self.plan.patch_zyx) if windows > 1 else torch.ones(self.plan.patch_zyx)

    def _answer(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.softmax(logits.float(), 1)
