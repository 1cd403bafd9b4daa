"""How a model is applied, where that differs from its plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What a user may choose about a run.

    Example:
        >>> from flareseg import Options, Segmenter
        >>> segmenter = Segmenter(options=Options(device="cpu", threads=2))
        >>> segmenter.device_description.startswith("CPU, 2 threads")
        True

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        backend: "auto", "torch" or "openvino" (CPU only).
        threads: CPU threads; None takes every core this process may use.
        gpu_memory_gb: bound on the GPU memory used; FLARE allows 4.
        step: distance of windows as a fraction of the window; None takes the plan's, or nnU-Net's 0.5 with parity.
        mirroring: average over mirrored windows: slower, a little better; None is no, or yes with parity.
        parity: nnU-Net's own answer, voxel for voxel, in single precision; None goes by the model's plan.
    """

    device: str = "auto"
    backend: str = "auto"
    threads: int | None = None
    gpu_memory_gb: float = 4.0
    step: float | None = None
    mirroring: bool | None = None
    parity: bool | None = None
