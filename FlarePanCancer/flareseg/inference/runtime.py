"""A network ready to run on what the machine has: CUDA, MPS, or the CPU with OpenVINO or torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from flareseg.errors import DeviceError
from flareseg.model.plan import Plan
from flareseg.options import Options

if TYPE_CHECKING:
    from flareseg.inference.sliding import Forward

GIB = 2**30


class TorchNetwork:
    """Runs in torch: fp16 on CUDA, fp32 on MPS, and on the CPU bf16 where it has instructions for it, else fp32."""

    def __init__(self, plan: Plan, weights: dict[str, torch.Tensor], device: torch.device) -> None:
        from flareseg.model.network import build_network, load_weights

        self.device = device
        self.classes = plan.classes
        network = build_network(plan)
        load_weights(network, weights)
        self._precision = _torch_precision(device)
        self._network = network.eval().to(device)
        if device.type == "cuda":
            self._network = self._network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.description = f"{_device_name(device)}, torch {str(self._precision).removeprefix('torch.')}"

    @torch.inference_mode()
    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 1, z, y, x) float32 in, (n, classes, z, y, x) out: fp16 on CUDA, else float32."""
        half = self._precision != torch.float32
        with torch.autocast(self.device.type, self._precision, enabled=half):
            logits: torch.Tensor = self._network(windows)
        return logits if self.device.type == "cuda" else logits.float()


def open_network(plan: Plan, weights: dict[str, torch.Tensor], key: str, options: Options) -> Forward:
    """The network on the device that `options` ask for.

    Args:
        plan: of the network.
        weights: its tensors.
        key: names the weights for the cache of compiled networks, e.g. their sha256.
        options: device, backend and threads.

    Raises:
        DeviceError: when that device or backend is not there.
    """
    device = find_device(options.device)
    if device.type == "cuda":
        bound_gpu_memory(device, options.gpu_memory_gb)
    if device.type != "cpu":
        if options.backend == "openvino":
            raise DeviceError("OpenVINO runs on the CPU only; add --device cpu or leave out --backend.")
        return TorchNetwork(plan, weights, device)
    return open_on_cpu(plan, weights, key, options)


def open_on_cpu(plan: Plan, weights: dict[str, torch.Tensor], key: str, options: Options) -> Forward:
    """The network on the CPU: OpenVINO where it is installed, unless torch is asked for."""
    threads = options.threads or usable_cores()
    torch.set_num_threads(threads)
    if options.backend != "torch":
        from flareseg.inference.openvino_network import OpenVinoNetwork, openvino_installed

        if openvino_installed():
            return OpenVinoNetwork(plan, weights, key, threads)
        if options.backend == "openvino":
            raise DeviceError("OpenVINO is not installed; run: pip install openvino")
    return TorchNetwork(plan, weights, torch.device("cpu"))


def find_device(name: str) -> torch.device:
    """The torch device called "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        DeviceError: when there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind == "cpu" and not number:
        return torch.device("cpu")
    if kind == "mps" and not number:
        if not torch.backends.mps.is_available():
            raise DeviceError("This machine has no Apple GPU that torch can use; take --device cpu.")
        return torch.device("mps")
    if kind == "cuda" and (not number or number.isdecimal()):
        index = int(number or 0)
        if not torch.cuda.is_available():
            raise DeviceError("torch finds no NVIDIA GPU here; take --device cpu, or install a CUDA build of torch.")
        if index >= torch.cuda.device_count():
            raise DeviceError(f"There is no GPU number {index}; this machine has {torch.cuda.device_count()}.")
        return torch.device("cuda", index)
    raise DeviceError(f"'{name}' is no device; choose auto, cpu, cuda, cuda:N or mps.")


def bound_gpu_memory(device: torch.device, limit_gb: float) -> None:
    """Let torch take at most `limit_gb` GiB of the device, so that other programs (Slicer's rendering) keep theirs."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit_gb * GIB / total), device)


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def release_gpu_memory() -> None:
    """Give memory that torch holds but does not use back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _torch_precision(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and _cpu_multiplies_bf16():
        return torch.bfloat16
    return torch.float32


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for bf16; without them it is slower than fp32, not faster."""
    # torch offers no public name for these yet; where they are gone, fp32 is the safe answer.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    probes: list[Callable[[], bool]] = [probe for name in names if (probe := getattr(torch.cpu, name, None))]
    return any(probe() for probe in probes)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    return f"CPU, {torch.get_num_threads()} threads"
