"""Running out of memory: how it shows itself, and how a GPU's memory is bounded."""

from __future__ import annotations

import torch

GIB = 2**30
CONTEXT_GIB = 0.5
"""What CUDA and its libraries take beside torch's tensors; torch neither counts nor bounds it."""
_TOLD_BY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""CUDA's allocator has an error of its own; its libraries, Apple's GPUs, the CPU and OpenVINO raise a RuntimeError."""


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error means that memory ran out, on whatever device."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _TOLD_BY)


def bound_gpu_memory(device: torch.device, limit_gib: float) -> None:
    """Let this process take about `limit_gib` of the device: other programs keep theirs, Slicer's rendering too."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, tensor_bytes(limit_gib) / total), device)


def gpu_memory_shares() -> list[float]:
    """Of every GPU, the share of its memory that this process may take; [] as long as torch has not looked for any."""
    if not torch.cuda.is_initialized():
        return []
    ask = getattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)  # which an older torch lacks
    return [float(ask(index)) for index in range(torch.cuda.device_count())]


def put_back_gpu_memory_shares(shares: list[float]) -> None:
    """Take back what `bound_gpu_memory` did since `gpu_memory_shares` gave these."""
    if torch.cuda.is_initialized():
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
