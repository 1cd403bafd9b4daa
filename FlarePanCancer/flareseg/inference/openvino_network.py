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
from flareseg.model.networks.checks import Sizes
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.networks.unet import NAME as UNET
from flareseg.model.networks.unet import Block, Convolution, unet_layers
from flareseg.model.plan import NetworkSpec, Plan
from flareseg.system.private_imports import import_openvino

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
    """
    ov = import_openvino()
    op = ov.opset13
    expected = parameter_shapes(plan)
    for name, shape in expected.items():
        if name not in weights or tuple(weights[name].shape) != shape:
            raise ModelError(f"The weights do not fit the network: {name}.")
    window = op.parameter([-1, 1, -1, -1, -1], np.float32)
    layers = Layers(weights)
    output = _unet(plan.network, layers, window) if plan.network.name == UNET else _dynunet(expected, layers, window)
    if logits is not np.float32:
        output = op.convert(output, logits)
    return ov.Model([output], [window])


class Layers:
    """The layers that our networks are made of, in OpenVINO, by the names of their tensors."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self._weights, self._op = weights, import_openvino().opset13

    def convolution(self, x: Any, name: str, stride: Sizes, *, monai: bool) -> Any:
        """Convolution with `name`.weight; `monai`: padded by MONAI's rule, else by half the kernel."""
        weight = self._values(f"{name}.weight")
        sizes = zip(weight.shape[2:], stride, strict=True)
        # kernels are odd, so that stride 1 keeps the size either way
        padding = [(kernel - step + 1) // 2 if monai else (kernel - 1) // 2 for kernel, step in sizes]
        if min(padding) < 0:
            raise ModelError(f"The model's network cannot be built: '{name}' strides further than its kernel reaches.")
        return self._op.convolution(x, self._op.constant(weight), list(stride), padding, padding, [1, 1, 1])

    def normalised(self, x: Any, name: str) -> Any:
        """Instance norm with `name`.weight and .bias."""
        axes = self._op.constant(np.array([2, 3, 4]))
        x = self._op.mvn(x, axes, normalize_variance=True, eps=EPSILON, eps_mode="inside_sqrt")
        return self.plus(self._op.multiply(x, self._per_channel(f"{name}.weight")), f"{name}.bias")

    def active(self, x: Any) -> Any:
        return self._op.prelu(x, self._op.constant(np.array([SLOPE], np.float32)))

    def transposed(self, x: Any, name: str, stride: Sizes) -> Any:
        """Transposed convolution as large as its stride, with `name`.weight and .bias."""
        zero, one = [0, 0, 0], [1, 1, 1]
        weight = self._op.constant(self._values(f"{name}.weight"))
        x = self._op.convolution_backprop_data(x, weight, list(stride), pads_begin=zero, pads_end=zero, dilations=one)
        return self.plus(x, f"{name}.bias")

    def joined(self, x: Any, skip: Any) -> Any:
        return self._op.concat([x, skip], axis=1)

    def averaged(self, x: Any, stride: Sizes) -> Any:
        """Mean of every `stride` voxels."""
        sizes, zero = list(stride), [0, 0, 0]
        return self._op.avg_pool(x, sizes, zero, zero, sizes, exclude_pad=True)

    def added(self, x: Any, other: Any) -> Any:
        return self._op.add(x, other)

    def plus(self, x: Any, name: str) -> Any:
        """One number per channel added."""
        return self._op.add(x, self._per_channel(name))

    def _per_channel(self, name: str) -> Any:
        return self._op.constant(self._values(name).reshape(1, -1, 1, 1, 1))

    def _values(self, name: str) -> Any:
        return self._weights[name].float().numpy()


def _dynunet(expected: dict[str, tuple[int, ...]], layers: Layers, window: Any) -> Any:
    ups = sum(name.endswith("transp_conv.conv.weight") for name in expected)
    # A transposed convolution is as large as the stride that it takes back.
    of_ups = [expected[f"upsamples.{ups - 1 - up}.transp_conv.conv.weight"] for up in range(ups)]
    strides: list[Sizes] = [(1, 1, 1), *((shape[2], shape[3], shape[4]) for shape in of_ups)]

    def block(x: Any, name: str, stride: Sizes) -> Any:
        for number, step in ((1, stride), (2, (1, 1, 1))):
            x = layers.convolution(x, f"{name}.conv{number}.conv", step, monai=True)
            x = layers.active(layers.normalised(x, f"{name}.norm{number}"))
        return x

    x, skips = window, []
    for stage, stride in enumerate(strides):
        x = block(x, {0: "input_block", ups: "bottleneck"}.get(stage, f"downsamples.{stage - 1}"), stride)
        skips.append(x)
    for up, stage in enumerate(range(ups, 0, -1)):
        x = layers.transposed(x, f"upsamples.{up}.transp_conv.conv", strides[stage])
        x = block(layers.joined(x, skips[stage - 1]), f"upsamples.{up}.conv_block", (1, 1, 1))
    x = layers.convolution(x, "output_block.conv.conv", (1, 1, 1), monai=True)
    return layers.plus(x, "output_block.conv.conv.bias")


def _unet(spec: NetworkSpec, layers: Layers, window: Any) -> Any:
    net = unet_layers(spec)

    def normalised(x: Any, of: Convolution) -> Any:
        return layers.normalised(layers.convolution(x, f"{of.name}.conv", of.stride, monai=False), f"{of.name}.norm")

    def block(x: Any, of: Block) -> Any:
        beside = layers.averaged(x, of.stride) if max(of.stride) > 1 else x
        if of.skip:
            beside = normalised(beside, of.skip)
        x = normalised(layers.active(normalised(x, of.first)), of.second)
        return layers.active(layers.added(x, beside))

    x, skips = window, []
    if net.stem:
        x = layers.active(normalised(x, net.stem))
    for stage in net.encoder:
        for layer in stage:
            x = block(x, layer) if isinstance(layer, Block) else layers.active(normalised(x, layer))
        skips.append(x)
    for up, skip in zip(net.ups, reversed(skips[:-1]), strict=True):
        x = layers.joined(layers.transposed(x, up.name, up.stride), skip)
        for convolution in up.convolutions:
            x = layers.active(normalised(x, convolution))
    return layers.plus(layers.convolution(x, "head", (1, 1, 1), monai=False), "head.bias")
