"""A network compiled for this processor: fewer multiplications than OpenVINO takes, for large networks in fp32.

Its convolutions are Winograd's where that is possible, and what lies between two of them is done as the second one
reads its input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from flareseg.errors import ModelError
from flareseg.inference.devices import cpu_name
from flareseg.inference.llvm.choice import vector_lanes
from flareseg.inference.llvm.features import Parts
from flareseg.inference.llvm.kernels import kernels
from flareseg.inference.llvm.layers import CompiledLayers
from flareseg.model.networks.architecture import Architecture
from flareseg.model.networks.registry import architecture_of, parameter_shapes
from flareseg.model.plan import Plan


class CompiledNetwork:
    """Runs on the CPU in fp32; windows of any size.

    Args:
        plan, weights: of the network.
        threads: at most; as many as torch uses unless given.

    Raises:
        ImportError: when llvmlite is not installed.
        ModelError: when plan and weights do not fit.
        RuntimeError: when there is no code for this processor, or nobody has written down such a network.
    """

    def __init__(self, plan: Plan, weights: dict[str, torch.Tensor], threads: int | None) -> None:
        for name, shape in parameter_shapes(plan).items():
            if name not in weights or tuple(weights[name].shape) != shape:
                raise ModelError(f"The weights do not fit the network: {name}.")
        lanes = vector_lanes()
        if not lanes:
            raise RuntimeError("the processor has no AVX2")
        self.device = torch.device("cpu")
        self.classes = plan.classes
        self._spec, self._architecture = plan.network, architecture_of(plan.network)
        if type(self._architecture).computed is Architecture.computed:
            raise NotImplementedError(f"flareseg has the network '{plan.network.name}' in torch only")
        threads = threads or torch.get_num_threads()
        head = self._architecture.head
        idle = head if _hands_on(weights[f"{head}.weight"], weights[f"{head}.bias"]) else None
        self._layers = CompiledLayers(weights, kernels(lanes), threads, idle)
        self.description = f"{cpu_name(threads)}, LLVM fp32"

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 1, z, y, x) float32 in, (n, classes, z, y, x) out."""
        results = [torch.from_numpy(self._layers.planar(self._features(window[0]))) for window in windows]
        return torch.stack(results) if len(results) > 1 else results[0][None]

    def add_weighted(self, window: torch.Tensor, weights_zyx: Sequence[torch.Tensor], total: torch.Tensor) -> None:
        """What it gives of a (z, y, x) window, times weights along its axes, is added to `total`: (classes, z, y, x) in
        half precision, in steps of one along x."""
        assert total.dtype == torch.float16 and total.stride(3) == 1
        assert total.shape == (self.classes, *window.shape) == (self.classes, *map(len, weights_zyx))
        self._layers.blend(self._features(window), total, [line.numpy() for line in weights_zyx])

    def _features(self, window: torch.Tensor) -> Parts:
        image = self._layers.image(np.ascontiguousarray(window.numpy(), np.float32))
        return self._architecture.computed(self._spec, self._layers, image)


def _hands_on(weight: torch.Tensor, bias: torch.Tensor) -> bool:
    """Whether a convolution hands on its input as it is, like that of a network whose head was cut off."""
    outputs, inputs = weight.shape[:2]
    same = weight.shape == (inputs, inputs, 1, 1, 1) and torch.equal(weight[:, :, 0, 0, 0].float(), torch.eye(outputs))
    return same and not bias.any()
