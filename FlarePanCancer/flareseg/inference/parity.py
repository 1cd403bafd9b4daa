"""nnU-Net's own answer: its crop, its normalisation, its resampling, its windows and its rounding, step by step.

The fast way (`engine.py`) computes the same in another order and in other precisions, which changes a few voxels in a
thousand at the borders of organs. Here every step is done in the precision and order of nnUNetPredictor: images in
single precision, splines in double, the network in single, sums of windows, of folds and what is interpolated of them
in half. The speed comes from elsewhere: matrices instead of one call a slice, and only those classes and places are
interpolated that can decide a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.inference.case import Case
from flareseg.inference.engine import Engine
from flareseg.inference.head import Logits, at_hand
from flareseg.inference.logits_to_labels import logits_to_labels
from flareseg.inference.normalization import normalize
from flareseg.inference.resample import SLAB_BYTES, nearest_axis, nearest_indices, spline_matrix, target_shape
from flareseg.inference.sliding import Forward, flips_of, pad_to_window, window_starts
from flareseg.inference.strategy import LogitsStrategy
from flareseg.model.bundle import Bundle
from flareseg.model.plan import Intensity, Plan
from flareseg.options import Options
from flareseg.progress import Progress, part_of
from flareseg.volume import Box, Index, Triple, box_of

STEP = 0.5
"""nnU-Net's default distance of windows."""
GAUSSIAN_PEAK = 10
"""Of a window's weights: in half precision, logits times this stay in range and the weights at its corners above 0."""


def resample_normalized(
    image: NDArray[np.float32],
    spacing_zyx_mm: Triple,
    plan: Plan,
    progress: Progress | None = None,
) -> torch.Tensor:
    """A normalised (z, y, x) image on the plan's grid, float32, by splines in double precision.

    nnU-Net limits what splines overshoot to the range of the slice where it resamples slices, else of the image.
    """
    out = target_shape((image.shape[0], image.shape[1], image.shape[2]), spacing_zyx_mm, plan.spacing_zyx_mm)
    source = torch.from_numpy(image)
    if out == image.shape:
        return source
    nearest = nearest_axis(plan.resampling, spacing_zyx_mm, plan.spacing_zyx_mm)
    # the axis of slices first; without one, any will do
    first = nearest or 0
    order = (first, *(axis for axis in range(3) if axis != first))
    turned = source.permute(order)
    sizes = [out[axis] for axis in order]
    rows, columns = (
        torch.from_numpy(spline_matrix(turned.shape[axis], sizes[axis], plan.image_order)) for axis in (1, 2)
    )
    middle = torch.empty(
        (turned.shape[0], sizes[1], sizes[2]), dtype=torch.float64 if nearest is None else torch.float32
    )
    slices = max(1, SLAB_BYTES // (8 * turned.shape[1] * turned.shape[2]))
    for start in range(0, len(turned), slices):
        slab = turned[start : start + slices].double()
        result = torch.matmul(torch.matmul(rows, slab), columns.T)
        if nearest is not None:
            result.clamp_(slab.amin((1, 2), keepdim=True), slab.amax((1, 2), keepdim=True))
        middle[start : start + slices] = result
        if progress:
            progress.update(start / len(turned))
    if nearest is not None:
        whole = middle.index_select(0, torch.from_numpy(nearest_indices(len(middle), sizes[0])))
    else:
        whole = _along_first(middle, sizes[0], plan.image_order).clamp_(float(source.min()), float(source.max()))
    inverse = [order.index(axis) for axis in range(3)]
    return whole.permute(inverse).contiguous()


def _along_first(volume: torch.Tensor, size: int, order: int) -> torch.Tensor:
    """(z, y, x) float64 to `size` slices, float32; rows at a time, so that little of it is there twice."""
    matrix = torch.from_numpy(spline_matrix(len(volume), size, order))
    result = torch.empty((size, *volume.shape[1:]), dtype=torch.float32)
    rows = max(1, SLAB_BYTES // (8 * max(len(volume), size) * volume.shape[2]))
    for start in range(0, volume.shape[1], rows):
        part = volume[:, start : start + rows]
        result[:, start : start + rows] = (matrix @ part.flatten(1)).reshape(size, *part.shape[1:])
    return result


@lru_cache(maxsize=4)
def gaussian(window_zyx: Index) -> torch.Tensor:
    """(z, y, x) weights of a window, half precision: a Gaussian of one eighth of it, nowhere 0."""
    lines = []
    for size in window_zyx:
        line = np.zeros(size)
        line[size // 2] = 1
        lines.append(ndimage.gaussian_filter1d(line, size / 8, mode="constant"))
    weights = (lines[0][:, None, None] * lines[1][:, None]) * lines[2]
    weights /= weights.max() / GAUSSIAN_PEAK
    half = torch.from_numpy(weights).half()
    half[half == 0] = half[half > 0].min()
    return half


class ParityEngine(Engine):
    """An `Engine` that gives nnU-Net's own answer. Where a GPU runs out of memory the CPU takes over at once: smaller
    windows would give another answer."""

    def __init__(
        self,
        plan: Plan,
        weights: dict[str, torch.Tensor],
        options: Options,
        *,
        ensemble: Sequence[dict[str, torch.Tensor]] = (),
    ) -> None:
        super().__init__(plan, weights, replace(options, parity=True), ensemble=ensemble)

    def resampled(
        self,
        hu: NDArray[Any],
        spacing_zyx_mm: Triple,
        progress: Progress | None = None,
        intensity: Intensity | None = None,
    ) -> torch.Tensor:
        """(z, y, x) HU, cut to what is not 0, to the plan's grid and normalisation: float32 on the CPU."""
        return resample_normalized(normalize(hu, intensity or self.plan.intensity), spacing_zyx_mm, self.plan, progress)

    def logits(self, image: torch.Tensor, progress: Progress | None = None) -> torch.Tensor:
        """(z, y, x) normalised image to (classes, z, y, x) logits in half precision on the CPU."""
        while True:
            result = self._attempt(partial(self._mean_of_folds, image, progress))
            if result is not None:
                return result
            self._move_to_cpu(progress)

    def labels(
        self, logits: Logits, shape_zyx: Index, spacing_zyx_mm: Triple, progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """(classes, z, y, x) logits to the labels on the CT's own grid of `shape_zyx`."""
        nearest = nearest_axis(self.plan.resampling, self.plan.spacing_zyx_mm, spacing_zyx_mm)
        return logits_to_labels(at_hand(logits), shape_zyx, nearest, progress, rounded=True)

    def _mean_of_folds(self, image: torch.Tensor, progress: Progress | None) -> torch.Tensor:
        total: torch.Tensor | None = None
        for number, network in enumerate(self._networks):
            found = self._over_windows(image, network, part_of(progress, number, len(self._networks)))
            total = found if total is None else total.add_(found)
        assert total is not None
        return total.div_(len(self._networks)) if len(self._networks) > 1 else total

    def _over_windows(self, image: torch.Tensor, network: Forward, progress: Progress | None) -> torch.Tensor:
        """(classes, z, y, x) of the whole image as nnU-Net adds up its windows, on the CPU, in the weights' precision.

        Args:
            image: (z, y, x) float32, normalised, anywhere.
        """
        plan, options = self.plan, self._options
        step = options.step or (plan.step if plan.resampling == "corners" else STEP)
        padded, inner = pad_to_window(image, plan.patch_zyx, 0.0)
        sizes: Index = (padded.shape[0], padded.shape[1], padded.shape[2])
        starts = [window_starts(size, window, step) for size, window in zip(sizes, plan.patch_zyx, strict=True)]
        corners = list(product(*starts))
        flips = flips_of(() if options.mirroring is False else plan.mirror_axes)
        weights = self._weights(len(corners))
        sums = torch.zeros((network.classes, *sizes), dtype=weights.dtype)
        total = torch.zeros(sizes, dtype=weights.dtype)
        for number, corner in enumerate(corners):
            z, y, x = (slice(start, start + size) for start, size in zip(corner, plan.patch_zyx, strict=True))
            window = padded[z, y, x][None, None].to(network.device)
            output: torch.Tensor | None = None
            for count, flip in enumerate(flips):
                dims = [axis + 2 for axis in flip]
                one = self._answer(network(window.flip(dims).contiguous())).flip(dims)
                if len(flips) > 1:  # a power of two, by which a sum's parts can be divided as exactly as the sum
                    one.div_(len(flips))
                output = one if output is None else output.add_(one)
                if progress:
                    progress.update((number * len(flips) + count + 1) / (len(corners) * len(flips)))
            assert output is not None
            sums[:, z, y, x] += output[0].cpu() * weights
            total[z, y, x] += weights
        return sums.div_(total)[:, inner[0], inner[1], inner[2]]

    def _weights(self, windows: int) -> torch.Tensor:
        """(z, y, x) of a window, one of so many."""
        return gaussian(self.plan.patch_zyx)

    def _answer(self, logits: torch.Tensor) -> torch.Tensor:
        """What is averaged over windows, mirrored looks and folds."""
        return logits


class ParityStrategy(LogitsStrategy):
    """nnU-Net's own way: all that is not 0 goes through the main net, and nothing else.

    Args:
        bundle: the model; its coarse net and its net for tumours, where it has them, are not asked.
        options: of the run.
        engine: the kind that takes the steps: of nnU-Net v2, or another version's.
    """

    def __init__(self, bundle: Bundle, options: Options, engine: type[ParityEngine] = ParityEngine) -> None:
        super().__init__(engine(bundle.plan, bundle.weights, options, ensemble=bundle.ensemble))

    def find_body(self, case: Case) -> Box | None:
        with case.progress.stage("body"):
            return box_of(case.ct.hu)

    def _logits(self, case: Case, box: Box) -> Logits:
        with case.progress.stage("resample"):
            image = self.engine.resampled(case.ct.hu[box], case.spacing_zyx_mm, case.progress)
        with case.progress.stage("network"):
            return self.engine.logits(image, case.progress)
