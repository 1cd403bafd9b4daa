"""The network in OpenVINO, two to three times as fast as torch on Intel and AMD processors.

The graph is written down from the plan and the weights. Translating a torch network would need MONAI and seconds
at the first start, and a cache of translations for every later one; this takes a tenth of a second.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from flareseg.errors import ModelError
from flareseg.inference.devices import cpu_name
from flareseg.model.networks.openvino_layers import OpenVinoLayers
from flareseg.model.networks.registry import architecture_of, parameter_shapes
from flareseg.model.plan import Plan
from flareseg.system.private_imports import import_openvino


class OpenVinoNetwork:
    """Runs on the CPU in OpenVINO: bf16 where the processor has it, else fp32; windows of any size.

    Args:
        plan, weights: of the network.
        threads: at most; None leaves it to OpenVINO, which knows which cores of a processor are the fast ones.
        exact: fp32 wherever it runs.

    Raises:
        ModelError: when plan and weights do not fit.
    """

    def __init__(
        self, plan: Plan, weights: dict[str, torch.Tensor], threads: int | None, *, exact: bool = False
    ) -> None:
        self.device = torch.device("cpu")
        self.classes = plan.classes
        core = _core()
        half = not exact and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        graph = network_graph(plan, weights, np.float16 if half else np.float32)
        compiled = core.compile_model(graph, "CPU", settings)
        self._request = compiled.create_infer_request()
        running = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.description = f"{cpu_name(running)}, OpenVINO {'bf16' if half else 'fp32'}"

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 1, z, y, x) float32 in, (n, classes, z, y, x) out, in memory that the next call writes into: in half
        precision where the network computes in bf16, which is coarser still."""
        outputs = self._request.infer({0: windows.numpy()}, share_inputs=True, share_outputs=True)
        return torch.from_numpy(outputs[0])


@cache
def _core() -> Any:
    """OpenVINO's one core of this process, which lives as long as the process does.

    The first one gives the thread that makes it a stack for signals, and the end of the last one, in whatever thread
    that is, takes the memory of this stack away: a later signal, such as that of Ctrl-C, would crash the process.
    """
    return import_openvino().Core()


def network_graph(plan: Plan, weights: dict[str, torch.Tensor], logits: type[np.floating[Any]] = np.float32) -> Any:
    """The network that `build_network(plan)` builds, with `weights`, as an OpenVINO model for windows of any size.

    `logits` is the precision in which it hands them over.

    Raises:
        ModelError: when plan and weights do not fit, or the network makes no sense.
        NotImplementedError: when there is no graph of such a network.
    """
    ov = import_openvino()
    op = ov.opset13
    for name, shape in parameter_shapes(plan).items():
        if name not in weights or tuple(weights[name].shape) != shape:
            raise ModelError(f"The weights do not fit the network: {name}.")
    window = op.parameter([-1, 1, -1, -1, -1], np.float32)
    output = architecture_of(plan.network).computed(plan.network, OpenVinoLayers(weights), window)
    if logits is not np.float32:
        output = op.convert(output, logits)
    return ov.Model([output], [window])
