"""One plan and its network, from HU to logits to labels; and what happens when the GPU runs out of memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.inference.confidence import confidence_of
from flareseg.inference.head import Head, LazyLogits, Logits
from flareseg.inference.logits_to_labels import lazy_logits_to_labels, logits_to_labels, winners
from flareseg.inference.memory import release_gpu_memory, tensor_bytes
from flareseg.inference.normalization import denormalize, standardize_
from flareseg.inference.resample import nearest_axis, resample_image
from flareseg.inference.runtime import open_network, open_on_cpu
from flareseg.inference.sliding import Forward, halve_window, predict, window_shape
from flareseg.model.plan import Intensity, Plan, sides_swapped
from flareseg.options import Options
from flareseg.progress import Progress, part_of
from flareseg.system.failures import out_of_memory
from flareseg.volume import Index, Triple

Open = Callable[[Plan, dict[str, torch.Tensor], Options], Forward]
Result = TypeVar("Result")

MOST_HALVINGS = 2
"""Windows a quarter of the planned size still see enough around each voxel; smaller ones would not."""
LOGITS_SHARE = 0.4
"""Of the GPU memory that may be used, how much the logits may take; the rest is for the network."""
SMALLER_WINDOWS = "The GPU ran out of memory; going on with smaller windows."
ON_THE_CPU = "The GPU ran out of memory; going on with the CPU, which takes longer."
CPU_FINISHES = "The GPU ran out of memory; the CPU finishes this case."


class Engine:
    """A plan applied to parts of CTs.

    Args:
        plan: how.
        weights: the network's tensors.
        options: device, step, mirroring.
        ensemble: tensors of further networks, whose logits are averaged with those of the first.
        open_network, open_on_cpu: how networks are opened; tests pass their own.

    Every method that takes an image or logits raises `MemoryError` when the computer's own memory runs out.
    """

    def __init__(
        self,
        plan: Plan,
        weights: dict[str, torch.Tensor],
        options: Options,
        *,
        ensemble: Sequence[dict[str, torch.Tensor]] = (),
        open_network: Open = open_network,
        open_on_cpu: Open = open_on_cpu,
    ) -> None:
        self.plan = plan
        self._options = options
        every = (weights, *ensemble)
        # Networks of an ensemble have features of their own, and nnU-Net's answer is that of logits added up.
        # Mirrored sides are swapped in logits, too.
        whole = bool(ensemble or options.parity or (options.mirroring and plan.mirror_sides))
        self._head = None if whole else Head.worth_cutting(plan, weights)
        if self._head:
            plan, weights = self._head.cut_off(plan, weights)
            every = (weights,)
        self._networks = [open_network(plan, one, options) for one in every]
        # Kept for when a GPU runs out of memory, and only then: a large net's weights are hundreds of megabytes.
        kept = () if self._network.device.type == "cpu" else every
        self._reopen_on_cpu: Callable[[], list[Forward]] = lambda: [open_on_cpu(plan, one, options) for one in kept]
        self._halvings = 0

    @property
    def _network(self) -> Forward:
        """The first network, of the only one or an ensemble; all run on the same device."""
        return self._networks[0]

    @property
    def device(self) -> torch.device:
        """Where the network runs now."""
        return self._network.device

    @property
    def description(self) -> str:
        """What the network runs on now."""
        return str(getattr(self._network, "description", self._network.device))

    def resampled(
        self,
        hu: NDArray[Any],
        spacing_zyx_mm: Triple,
        progress: Progress | None = None,
        intensity: Intensity | None = None,
    ) -> torch.Tensor:
        """(z, y, x) HU to the plan's grid and normalisation: float32 on the network's device.

        HU are clipped first and interpolated then, as in nnU-Net.

        Args:
            hu, spacing_zyx_mm: of the part of the CT that is looked at.
            progress: receives how far it is.
            intensity: of the whole CT, where the plan normalises by each image's own statistics.
        """
        plan, intensity = self.plan, intensity or self.plan.intensity
        while True:
            image = self._attempt(
                lambda: resample_image(
                    hu,
                    spacing_zyx_mm,
                    plan.spacing_zyx_mm,
                    plan.resampling,
                    device=self._network.device,
                    clip_hu=intensity.clip_hu,
                    order=plan.image_order,
                    progress=progress,
                )
            )
            if image is not None:
                return standardize_(image, intensity)
            self._move_to_cpu(progress)

    def logits(self, image: torch.Tensor, progress: Progress | None = None) -> Logits:
        """(z, y, x) normalised image to (classes, z, y, x) logits, all at hand unless the network has many classes.

        A GPU that runs out of memory gets smaller windows, then the CPU takes over. Both hold for the rest of this
        engine's life: the next case would only run out of memory again.
        """
        plan, options = self.plan, self._options
        step = options.step or plan.step
        shape: Index = (image.shape[0], image.shape[1], image.shape[2])
        planned = window_shape(shape, plan.patch_zyx, plan.stride_zyx, step, rule=plan.windows)
        mirror = plan.mirror_axes if options.mirroring else ()
        sides = sides_swapped(plan.labels) if options.mirroring and plan.mirror_sides else None
        while True:
            window = self._window(planned)
            if window is None:
                self._move_to_cpu(progress)
                continue
            arguments: dict[str, Any] = {"step": step, "mirror_axes": mirror, "sides": sides, "progress": progress}
            work = partial(self._mean_logits, image, window, **arguments)
            result = self._attempt(work)
            if result is not None:
                return LazyLogits(result, self._head) if self._head else result
            if self._halvings < MOST_HALVINGS:
                self._halvings += 1
                _report(progress, SMALLER_WINDOWS)
            else:
                self._move_to_cpu(progress)

    def labels(
        self, logits: Logits, shape_zyx: Index, spacing_zyx_mm: Triple, progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """(classes, z, y, x) logits to the labels on the CT's own grid of `shape_zyx`."""
        nearest = nearest_axis(self.plan.resampling, self.plan.spacing_zyx_mm, spacing_zyx_mm)
        if logits.device.type == "mps":
            # Apple's GPU shares the memory of the CPU, which has every operation that is needed here.
            logits = logits.cpu()
        labels = self._attempt(lambda: _labels_of(logits, shape_zyx, nearest, progress), logits.device)
        if labels is None:
            _report(progress, CPU_FINISHES)
            return self.labels(logits.cpu(), shape_zyx, spacing_zyx_mm, progress)
        return labels

    def confidence(self, logits: Logits, shape_zyx: Index) -> NDArray[np.uint8]:
        """How sure the label of each voxel is, in per cent; see `confidence_of`."""
        return confidence_of(logits, shape_zyx)

    def coarse_labels(
        self, hu: NDArray[Any], spacing_zyx_mm: Triple, progress: Progress | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The labels on the plan's own grid, where a look is enough, and the clipped HU there."""
        image = self.resampled(hu, spacing_zyx_mm)
        labels = winners(self.logits(image, progress).cpu()).numpy()
        return labels, denormalize(image, self.plan.intensity).cpu().numpy()

    def _window(self, planned: Index) -> Index | None:
        """The window that the GPU's memory allows; None when none is left to try."""
        window: Index | None = planned
        for _ in range(self._halvings):
            window = halve_window(window, self.plan.stride_zyx) if window else None
        return window

    def _mean_logits(
        self, image: torch.Tensor, window: Index, *, progress: Progress | None, **arguments: Any
    ) -> torch.Tensor:
        """The mean of all networks' logits."""
        total: torch.Tensor | None = None
        for number, network in enumerate(self._networks):
            share = part_of(progress, number, len(self._networks))
            logits = self._predicted(network, image, window, progress=share, **arguments)
            total = logits if total is None else total.add_(logits)
        assert total is not None
        return total.div_(len(self._networks)) if len(self._networks) > 1 else total

    def _predicted(self, network: Forward, image: torch.Tensor, window: Index, **arguments: Any) -> torch.Tensor:
        shape: Index = (image.shape[0], image.shape[1], image.shape[2])
        image = image.to(network.device)
        gather_on = self._gather_on(shape, window)
        return predict(image, network, window, padding=self.plan.padding, gather_on=gather_on, **arguments)

    def _gather_on(self, shape_zyx: Index, window_zyx: Index) -> torch.device:
        """Where the logits of a volume are put together: where the network runs, unless they would crowd it out."""
        device = self._network.device
        voxels = math.prod(max(size, window) for size, window in zip(shape_zyx, window_zyx, strict=True))
        half_precision = 2 * self._network.classes * voxels
        fits = half_precision <= LOGITS_SHARE * tensor_bytes(self._options.gpu_memory_gb)
        return device if device.type == "cpu" or fits else torch.device("cpu")

    def _attempt(self, work: Callable[[], Result], device: torch.device | None = None) -> Result | None:
        """What `work` returns; None when the GPU's memory ran out."""
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if (device or self._network.device).type == "cpu":
                raise MemoryError from None
        # outside the handler, whose traceback would keep the tensors alive
        release_gpu_memory()
        return None

    def _move_to_cpu(self, progress: Progress | None) -> None:
        _report(progress, ON_THE_CPU)
        self._networks = self._reopen_on_cpu()
        self._halvings = 0
        release_gpu_memory()


def _labels_of(logits: Logits, shape_zyx: Index, nearest: int | None, progress: Progress | None) -> NDArray[np.uint8]:
    if isinstance(logits, LazyLogits):
        return lazy_logits_to_labels(logits, shape_zyx, nearest, progress)
    return logits_to_labels(logits, shape_zyx, nearest, progress)


def _report(progress: Progress | None, text: str) -> None:
    if progress and text not in progress.messages:
        progress.message(text)
