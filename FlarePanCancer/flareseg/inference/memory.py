"""How much of a GPU's memory this process may take."""

from __future__ import annotations

from typing import Any

import torch

GIB = 2**30
CONTEXT_GIB = 0.5
"""What CUDA and its libraries take beside torch's tensors; torch neither counts nor bounds it."""


def bound_gpu_memory(device: torch.device, limit_gib: float) -> None:
    """Let this process take about `limit_gib` of the device: other programs keep theirs, Slicer's rendering too."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, tensor_bytes(limit_gib) / total), device)


def gpu_memory_shares() -> list[float]:
    """Of every GPU, the share of its memory that this process may take; [] as long as torch has not looked for any."""
    if not _cuda_is_initialized():
        return []
    ask = getattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)  # which an older torch lacks
    return [float(ask(index)) for index in range(torch.cuda.device_count())]


def put_back_gpu_memory_shares(shares: list[float]) -> None:
    """Take back what `bound_gpu_memory` did since `gpu_memory_shares` gave these."""
    if _cuda_is_initialized():
        for index in range(torch.cuda.device_count()):
            torch.cuda.set_per_process_memory_fraction(shares[index] if shares else 1.0, index)


def tensor_bytes(limit_gib: float) -> float:
    """Of a bound on a GPU's memory, what is left for tensors."""
    return max(limit_gib - CONTEXT_GIB, limit_gib / 2) * GIB


def release_gpu_memory() -> None:
    """Give memory that torch holds but does not use back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _cuda_is_initialized() -> bool:
    cuda: Any = torch.cuda  # this function of torch has no types
    return bool(cuda.is_initialized())
