"""The answer of nnU-Net v1, where its steps differ from those of version 2 in `parity.py`.

An image is resampled first and clipped and normalised then. Windows, mirrored looks and folds are averaged as
probabilities, in single precision, with a Gaussian that is 1 in the middle (none where one window sees all). Labels are
the highest of the probabilities after these were interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.inference.confidence import confidence_of
from flareseg.inference.head import Logits, at_hand
from flareseg.inference.logits_to_labels import logits_to_labels
from flareseg.inference.normalization import normalize_
from flareseg.inference.parity import STEP, ParityEngine, resample_normalized
from flareseg.inference.resample import nearest_axis
from flareseg.inference.sliding import Forward, flips_of, pad_to_window, window_starts
from flareseg.model.plan import Intensity
from flareseg.progress import Progress, part_of
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


def predict_as_v1(
    image: torch.Tensor,
    network: Forward,
    window_zyx: Index,
    *,
    step: float,
    mirror_axes: Sequence[int] = (),
    progress: Progress | None = None,
) -> torch.Tensor:
    """Probabilities of the whole image as nnU-Net v1 adds them up.

    Args:
        image: (z, y, x) float32, normalised, anywhere.
        window_zyx, step, mirror_axes: as `sliding.predict`.

    Returns:
        (classes, z, y, x) single precision, on the CPU.
    """
    padded, inner = pad_to_window(image, window_zyx, 0.0)
    sizes: Index = (padded.shape[0], padded.shape[1], padded.shape[2])
    starts = [window_starts(size, window, step) for size, window in zip(sizes, window_zyx, strict=True)]
    corners = list(product(*starts))
    flips = flips_of(mirror_axes)
    sums = torch.zeros((network.classes, *sizes))
    total = torch.zeros(sizes)
    weights = gaussian(window_zyx) if len(corners) > 1 else torch.ones(window_zyx)
    for number, corner in enumerate(corners):
        z, y, x = (slice(start, start + size) for start, size in zip(corner, window_zyx, strict=True))
        window = padded[z, y, x][None, None].to(network.device)
        seen: torch.Tensor | None = None
        for count, flip in enumerate(flips):
            dims = [axis + 2 for axis in flip]
            logits = network(window.flip(dims).contiguous()).float()
            one = torch.softmax(logits, 1).flip(dims).div_(len(flips))
            seen = one if seen is None else seen.add_(one)
            if progress:
                progress.update((number * len(flips) + count + 1) / (len(corners) * len(flips)))
        assert seen is not None
        sums[:, z, y, x] += seen[0].cpu() * weights
        total[z, y, x] += weights
    return sums.div_(total)[:, inner[0], inner[1], inner[2]]


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

    def _mean_of_folds(self, image: torch.Tensor, progress: Progress | None) -> torch.Tensor:
        plan, options = self.plan, self._options
        mirror = () if options.mirroring is False else plan.mirror_axes
        total: torch.Tensor | None = None
        for number, network in enumerate(self._networks):
            found = predict_as_v1(
                image,
                network,
                plan.patch_zyx,
                step=options.step or STEP,
                mirror_axes=mirror,
                progress=part_of(progress, number, len(self._networks)),
            )
            total = found if total is None else total.add_(found)
        assert total is not None
        return total.div_(len(self._networks)) if len(self._networks) > 1 else total
