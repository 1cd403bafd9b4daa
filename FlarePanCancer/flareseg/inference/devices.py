"""What this machine can segment with, and what people call it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flareseg.errors import DeviceError

if TYPE_CHECKING:
    import torch

_OLDER_THAN_BF16 = frozenset({"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"})
"""Values of oneDNN's variable ONEDNN_MAX_CPU_ISA."""


@dataclass(frozen=True)
class Device:
    """One choice: the name that --device takes, and what it is."""

    name: str
    description: str


def list_devices() -> list[Device]:
    """ "auto" first, saying what it takes; then every device there is."""
    import torch

    with_openvino = ", OpenVINO" if openvino_installed() else ""
    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            found.append(Device(f"cuda:{index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GB"))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU"))
    found.append(Device("cpu", f"{cpu_name(usable_cores())}{with_openvino}"))
    return [Device("auto", found[0].description), *found]


def find_device(name: str) -> torch.device:
    """The torch device called "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        DeviceError: when there is no such device here.
    """
    import torch

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


def cuda_devices() -> list[str]:
    """The names of all NVIDIA GPUs.

    Raises:
        DeviceError: when there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise DeviceError("torch finds no NVIDIA GPU here; take --device cpu, or install a CUDA build of torch.")
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def openvino_installed() -> bool:
    """Whether the package is there; it is not imported."""
    return find_spec("openvino") is not None


def llvm_installed() -> bool:
    """Whether llvmlite is there; it is not imported."""
    return find_spec("llvmlite") is not None


def cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for bf16; without them it is slower than fp32, not faster."""
    return not _held_below_bf16() and (_torch_sees("_is_avx512_bf16_supported") or cpu_has_amx())


def cpu_has_amx() -> bool:
    """Whether the CPU multiplies matrices in bf16, many times as fast as vectors in fp32."""
    return _torch_sees("_is_amx_tile_supported")


def _held_below_bf16() -> bool:
    """Whether oneDNN, which multiplies for torch, is told to use older instructions than the CPU has; in bf16 it would
    take dozens of times as long."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _OLDER_THAN_BF16


def _torch_sees(name: str) -> bool:
    """What torch says of the CPU by a function that it may lack: it offers no public name for these yet. Where they are
    gone, fp32 is the safe answer."""
    import torch

    probe: Callable[[], bool] | None = getattr(torch.cpu, name, None)
    return bool(probe and probe())


def device_name(device: torch.device) -> str:
    """How descriptions call a device."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    return cpu_name(torch.get_num_threads())


def cpu_name(threads: int) -> str:
    """How descriptions call the CPU."""
    return f"CPU, {threads} thread{'s' * (threads != 1)}"
