"""The device of a rank: each has its own, where there are several GPUs."""

from __future__ import annotations

import torch

from train.common.distributed import Environment, rank_here


def device_of_rank(wanted: str = "auto", environment: Environment | None = None) -> str:
    """The name of the device that this rank computes on.

    Args:
        wanted: as for `flareseg segment`. "auto" and "cuda" are the rank's own GPU; others are taken as they are.
        environment: by default that of the process.
    """
    count = torch.cuda.device_count() if wanted in ("auto", "cuda") and torch.cuda.is_available() else 0
    here = rank_here(environment)
    if not count or here.count == 1:
        return wanted
    return f"cuda:{here.number % count}"  # SLURM may show each rank its own GPU only, as number 0


def take_own_device() -> None:
    """Let what says "cuda" without a number mean this rank's own GPU; does nothing without several ranks and a GPU."""
    own = device_of_rank()
    if own.startswith("cuda:"):
        torch.cuda.set_device(own)
