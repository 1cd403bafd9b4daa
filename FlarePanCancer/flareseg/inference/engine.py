"""One plan and its network, from HU to logits to labels; and what happens when the GPU runs out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flareseg.inference.resample import logits_to_labels, nearest_axis, resample_image
from flareseg.inference.runtime import open_network, open_on_cpu, release_gpu_memory
from flareseg.inference.sliding import Forward, predict, smaller_windows, window_shape
from flareseg.model.plan import Plan
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.volume import Index, Triple

Open = Callable[[Plan, dict[str, torch.Tensor], str, Options], Forward]


class Engine:
    """A plan applied to parts of CTs.

    Args:
        plan: how.
        weights: the network's tensors.
        key: names the weights, for the cache of compiled networks.
        options: device, step, mirroring.
        open_network, open_on_cpu: how networks are opened; tests pass their own.
    """

    def __init__(
        self,
        plan: Plan,
        weights: dict[str, torch.Tensor],
        key: str,
        options: Options,
        *,
        open_network: Open = open_network,
        open_on_cpu: Open = open_on_cpu,
    ) -> None:
        self.plan = plan
        self._options = options
        self._network = open_network(plan, weights, key, options)
        self._reopen_on_cpu = lambda: open_on_cpu(plan, weights, key, options)

    @property
    def description(self) -> str:
        """What the network runs on now."""
        return str(getattr(self._network, "description", self._network.device))

    def resampled(self, hu: NDArray[Any], spacing_zyx_mm: Triple, progress: Progress | None = None) -> torch.Tensor:
        """(z, y, x) HU to the plan's grid and normalisation: float32 on the network's device."""
        plan = self.plan
        image = self._within_memory(
            progress,
            lambda: resample_image(
                hu, spacing_zyx_mm, plan.spacing_zyx_mm, plan.resampling, self._network.device, progress
            ),
        )
        low, high = plan.intensity.clip_hu
        return image.clamp_(low, high).sub_(plan.intensity.mean_hu).div_(plan.intensity.std_hu)

    def logits(self, image: torch.Tensor, progress: Progress | None = None) -> torch.Tensor:
        """(z, y, x) normalised image to (classes, z, y, x) logits.

        A GPU that runs out of memory gets smaller windows, then the CPU takes over for the rest of this engine's life.
        """
        plan, options = self.plan, self._options
        step = options.step or plan.step
        shape: Index = (image.shape[0], image.shape[1], image.shape[2])
        window = window_shape(shape, plan.patch_zyx, plan.stride_zyx, step, plan.windows)
        mirror = plan.mirror_axes if options.mirroring else ()

        def run(size: Index) -> torch.Tensor:
            return predict(
                image.to(self._network.device), self._network, size, step=step, mirror_axes=mirror, progress=progress
            )

        for size in (window, *smaller_windows(window, plan.stride_zyx)):
            try:
                return run(size)
            except torch.OutOfMemoryError:
                if self._network.device.type == "cpu":
                    raise MemoryError from None
            # outside the handler, whose traceback would keep the tensors alive
            release_gpu_memory()
            _tell(progress, "The GPU ran out of memory; going on with smaller windows.")
        self._move_to_cpu(progress)
        return run(window)

    def labels(
        self, logits: torch.Tensor, shape_zyx: Index, spacing_zyx_mm: Triple, progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """(classes, z, y, x) logits to the labels on the CT's own grid of `shape_zyx`."""
        nearest = nearest_axis(self.plan.resampling, self.plan.spacing_zyx_mm, spacing_zyx_mm)
        try:
            return logits_to_labels(logits, shape_zyx, nearest, progress)
        except torch.OutOfMemoryError:
            pass
        release_gpu_memory()
        _tell(progress, "The GPU ran out of memory; the CPU finishes this case.")
        return logits_to_labels(logits.cpu(), shape_zyx, nearest, progress)

    def coarse_labels(
        self, hu: NDArray[Any], spacing_zyx_mm: Triple, progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """The labels on the plan's own grid, where a look is enough."""
        logits = self.logits(self.resampled(hu, spacing_zyx_mm), progress)
        return logits.argmax(0).to(torch.uint8).cpu().numpy()

    def _within_memory(self, progress: Progress | None, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        try:
            return work()
        except torch.OutOfMemoryError:
            if self._network.device.type == "cpu":
                raise MemoryError from None
        self._move_to_cpu(progress)
        return work()

    def _move_to_cpu(self, progress: Progress | None) -> None:
        release_gpu_memory()
        _tell(progress, "The GPU ran out of memory; going on with the CPU, which takes longer.")
        self._network = self._reopen_on_cpu()


def _tell(progress: Progress | None, text: str) -> None:
    if progress:
        progress.message(text)
