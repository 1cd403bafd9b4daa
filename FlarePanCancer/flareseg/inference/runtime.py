"""A network ready to run on what the machine has: CUDA, MPS, or the CPU with LLVM, OpenVINO or torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from flareseg.errors import DeviceError
from flareseg.inference.devices import (
    cpu_multiplies_bf16,
    device_name,
    find_device,
    llvm_installed,
    openvino_installed,
    usable_cores,
)
from flareseg.inference.llvm.choice import pays_to_compile
from flareseg.inference.memory import bound_gpu_memory
from flareseg.model.plan import Plan
from flareseg.options import Options

if TYPE_CHECKING:
    from flareseg.inference.sliding import Forward

CPU_ONLY = {"openvino": "OpenVINO", "llvm": "LLVM"}
"""Backends and their names."""
_PRECISION_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}


class TorchNetwork:
    """Runs in torch: fp16 on CUDA, fp32 on MPS, and on the CPU bf16 where it has instructions for it, else fp32.

    Args:
        plan, weights: of the network.
        device: where.
        exact: fp32 on every device, by the same operations as nnU-Net.
    """

    def __init__(
        self, plan: Plan, weights: dict[str, torch.Tensor], device: torch.device, *, exact: bool = False
    ) -> None:
        from flareseg.model.networks.registry import build_network, load_weights

        self.device = device
        self.classes = plan.classes
        network = build_network(plan)
        load_weights(network, weights)
        self._exact = exact
        self._precision = torch.float32 if exact else _torch_precision(device)
        if device.type == "cpu" and not exact:
            _use_group_norms(network)
            network = network.to(self._precision)
        network = network.eval().to(device)
        if device.type != "mps" and not exact:
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._network = network
        self.description = f"{device_name(device)}, torch {_PRECISION_NAMES[self._precision]}"

    @torch.no_grad()  # no inference mode, whose results nobody may change in place
    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 1, z, y, x) float32 in, (n, classes, z, y, x) out: fp16 on CUDA, else float32."""
        logits: torch.Tensor
        if self._exact:
            # TF32, which torch allows itself for convolutions, has no more digits than fp16.
            with torch.backends.cudnn.flags(allow_tf32=False):
                logits = self._network(windows)
            return logits.contiguous()
        if self.device.type == "cuda":
            with torch.autocast("cuda", self._precision):
                logits = self._network(windows)
            return logits
        logits = self._network(windows.to(self._precision))
        return logits.float().contiguous()


def open_network(plan: Plan, weights: dict[str, torch.Tensor], options: Options) -> Forward:
    """The network on the device that `options` ask for; with device "auto", the CPU where the GPU does not run it.

    Args:
        plan: of the network.
        weights: its tensors.
        options: device, backend and threads.

    Raises:
        DeviceError: when that device or backend is not there, or the device cannot run the network.
    """
    torch.set_num_threads(options.threads or usable_cores())
    device = find_device(options.device)
    cpu_only = CPU_ONLY.get(options.backend)
    if device.type == "cpu" or (options.device == "auto" and cpu_only):
        return open_on_cpu(plan, weights, options)
    if cpu_only:
        raise DeviceError(f"{cpu_only} runs on the CPU only; add --device cpu or leave out --backend.")
    if device.type == "cuda":
        bound_gpu_memory(device, options.gpu_memory_gb)
    try:
        network = TorchNetwork(plan, weights, device, exact=bool(options.parity))
        # Tried on a small window: an old driver, a GPU that this torch was not built for, or one that other
        # programs have filled must show now, not in the middle of a case.
        network(torch.zeros(1, 1, *(2 * stride for stride in plan.stride_zyx), device=device))
    except RuntimeError as error:
        if options.device != "auto":
            reason = str(error).strip().partition("\n")[0]
            raise DeviceError(
                f"The device '{options.device}' cannot run the model ({reason}); take --device cpu."
            ) from None
        return open_on_cpu(plan, weights, options)
    return network


def open_on_cpu(plan: Plan, weights: dict[str, torch.Tensor], options: Options) -> Forward:
    """The network on the CPU: what is fastest of what is installed, unless options say.

    With parity that is torch: the others' fp32 is not the same to the last digit.

    Raises:
        DeviceError: when a backend is asked for that is not there, or does not run.
    """
    torch.set_num_threads(options.threads or usable_cores())
    exact = bool(options.parity)
    backends: list[str] = []
    if options.backend != "auto":
        backends = [options.backend]
    elif not exact:
        backends = ["llvm"] * pays_to_compile(plan) + ["openvino"] * openvino_installed()
    for backend in backends:
        if backend == "torch":
            break
        try:
            return _opened(backend, plan, weights, options)
        except (ImportError, RuntimeError) as error:  # e.g. a processor or an operating system it does not know
            if options.backend != "auto":
                reason = str(error).strip().partition("\n")[0]
                raise DeviceError(f"{CPU_ONLY[backend]} does not run here ({reason}); add --backend torch.") from None
    return TorchNetwork(plan, weights, torch.device("cpu"), exact=exact)


def _opened(backend: str, plan: Plan, weights: dict[str, torch.Tensor], options: Options) -> Forward:
    if backend == "llvm":
        if not llvm_installed():
            raise DeviceError("llvmlite is not installed; run: pip install llvmlite")
        from flareseg.inference.llvm.network import CompiledNetwork

        return CompiledNetwork(plan, weights, options.threads)
    if not openvino_installed():
        raise DeviceError("OpenVINO is not installed; run: pip install openvino")
    from flareseg.inference.openvino_network import OpenVinoNetwork

    return OpenVinoNetwork(plan, weights, options.threads, exact=bool(options.parity))


def _use_group_norms(network: nn.Module) -> None:
    """Replace every instance norm by a group norm with one channel a group, in place: the same numbers, computed where
    they lie. On the CPU torch copies a channels-last array to and fro for an instance norm, which costs a third of the
    whole network."""
    replace_norms(network, lambda norm: nn.GroupNorm(norm.num_features, norm.num_features, eps=norm.eps))


def replace_norms(network: nn.Module, other: Callable[[nn.InstanceNorm3d], nn.Module]) -> None:
    """Put what `other` makes of an instance norm in its place, for all of `network`, with the same parameters."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.InstanceNorm3d):
                norm = other(child)
                norm.weight, norm.bias = child.weight, child.bias
                setattr(module, name, norm)


def _torch_precision(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and cpu_multiplies_bf16():
        return torch.bfloat16
    return torch.float32
