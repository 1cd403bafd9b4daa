"""The network in OpenVINO, two to three times as fast as torch on Intel and AMD processors.

The graph is written down here from the plan and the weights. Translating a torch network would need MONAI and seconds
at the first start, and a cache of translations for every later one; this takes a tenth of a second.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from flareseg.errors import ModelError
from flareseg.inference.runtime import cpu_name
from flareseg.model.network import parameter_shapes
from flareseg.model.plan import Plan

SLOPE = 0.01
EPSILON = 1e-5
"""Of the leaky ReLUs and instance norms, as in `build_network`."""


def openvino_installed() -> bool:
    return find_spec("openvino") is not None


class OpenVinoNetwork:
    """Runs on the CPU in OpenVINO: bf16 where the processor has it, else fp32; windows of any size.

    Args:
        plan, weights: of the network.
        threads: at most; None leaves it to OpenVINO, which knows which cores of a processor are the fast ones.

    Raises:
        ModelError: when plan and weights do not fit.
    """

    def __init__(self, plan: Plan, weights: dict[str, torch.Tensor], threads: int | None) -> None:
        self.device = torch.device("cpu")
        self.classes = plan.classes
        core = _core()
        half = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(network_graph(plan, weights), "CPU", settings)
        self._request = compiled.create_infer_request()
        running = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.description = f"{cpu_name(running)}, OpenVINO {'bf16' if half else 'fp32'}"

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 1, z, y, x) float32 in, (n, classes, z, y, x) float32 out."""
        outputs = self._request.infer({0: windows.numpy()}, share_inputs=True, share_outputs=True)
        # copied, because the next call writes into the same memory
        return torch.from_numpy(np.array(outputs[0]))


@cache
def _core() -> Any:
    """OpenVINO's one core of this process, which lives as long as the process does.

    The first one gives the thread that makes it a stack for signals, and the end of the last one, in whatever thread
    that is, takes the memory of this stack away: a later signal, such as that of Ctrl-C, would crash the process.
    """
    import openvino as ov

    return ov.Core()


def network_graph(plan: Plan, weights: dict[str, torch.Tensor]) -> Any:
    """The network that `build_network(plan)` builds, with `weights`, as an OpenVINO model for windows of any size.

    Raises:
        ModelError: when plan and weights do not fit, or the network makes no sense.
    """
    import openvino as ov
    from openvino import opset13 as op

    expected = parameter_shapes(plan)
    for name, shape in expected.items():
        if name not in weights or tuple(weights[name].shape) != shape:
            raise ModelError(f"The weights do not fit the network: {name}.")
    ups = sum(name.endswith("transp_conv.conv.weight") for name in expected)
    # A transposed convolution is as large as the stride that it takes back.
    strides = [(1, 1, 1), *(expected[f"upsamples.{ups - 1 - up}.transp_conv.conv.weight"][2:] for up in range(ups))]

    def values(name: str) -> Any:
        return weights[name].float().numpy()

    def per_channel(name: str) -> Any:
        return op.constant(values(name).reshape(1, -1, 1, 1, 1))

    def convolution(x: Any, name: str, stride: tuple[int, ...]) -> Any:
        weight = values(f"{name}.conv.weight")
        # MONAI's rule; kernels are odd, so that stride 1 keeps the size
        padding = [(kernel - step + 1) // 2 for kernel, step in zip(weight.shape[2:], stride, strict=True)]
        if min(padding) < 0:
            raise ModelError(f"The model's network cannot be built: '{name}' strides further than its kernel reaches.")
        return op.convolution(x, op.constant(weight), list(stride), padding, padding, [1, 1, 1])

    def normalised(x: Any, name: str) -> Any:
        axes = op.constant(np.array([2, 3, 4]))
        x = op.mvn(x, axes, normalize_variance=True, eps=EPSILON, eps_mode="inside_sqrt")
        x = op.add(op.multiply(x, per_channel(f"{name}.weight")), per_channel(f"{name}.bias"))
        return op.prelu(x, op.constant(np.array([SLOPE], np.float32)))

    def block(x: Any, name: str, stride: tuple[int, ...]) -> Any:
        x = normalised(convolution(x, f"{name}.conv1", stride), f"{name}.norm1")
        return normalised(convolution(x, f"{name}.conv2", (1, 1, 1)), f"{name}.norm2")

    window = op.parameter([-1, 1, -1, -1, -1], np.float32)
    x, skips = window, []
    for stage, stride in enumerate(strides):
        x = block(x, {0: "input_block", ups: "bottleneck"}.get(stage, f"downsamples.{stage - 1}"), stride)
        skips.append(x)
    for up, stage in enumerate(range(ups, 0, -1)):
        name = f"upsamples.{up}"
        weight = op.constant(values(f"{name}.transp_conv.conv.weight"))
        x = op.convolution_backprop_data(
            x, weight, list(strides[stage]), pads_begin=[0, 0, 0], pads_end=[0, 0, 0], dilations=[1, 1, 1]
        )
        x = op.add(x, per_channel(f"{name}.transp_conv.conv.bias"))
        x = block(op.concat([x, skips[stage - 1]], axis=1), f"{name}.conv_block", (1, 1, 1))
    x = op.add(convolution(x, "output_block.conv", (1, 1, 1)), per_channel("output_block.conv.conv.bias"))
    return ov.Model([x], [window])
