"""Many cases: by how many workers of this machine, on which devices, with how many threads and how much memory each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flareseg.cases.find import Case
from flareseg.errors import UsageError
from flareseg.inference.devices import cuda_devices, list_devices, usable_cores
from flareseg.options import Options
from flareseg.reading.limits import GIB, free_memory

AUTO = 0
"""As many workers as make sense."""
WORKER_GIB, BYTES_A_VOXEL = 1.0, 16
"""Memory of a worker with the process that reads for it: a constant, and so much for each voxel of the largest CT.
Measured, see docs/many_cases.md."""
LARGE_CT_VOXELS = 512 * 512 * 500
"""For which `auto` leaves room: a whole trunk in slices of 1.5 mm. Where CTs are larger, name a number of workers."""


@dataclass(frozen=True)
class WorkerPlan:
    """The workers of a run on this machine.

    Attributes:
        options: of each, with its device and its threads.
        cores: the processor's cores that each may use; empty where it is not bound to any.
        sentence: what the user should know of it.
    """

    options: tuple[Options, ...]
    cores: tuple[tuple[int, ...], ...]
    sentence: str


@dataclass(frozen=True)
class Many:
    """Who does the cases of a run.

    Attributes:
        workers: on this machine; `AUTO`, or None for one a device.
        scheduler: address or file of a Dask scheduler, whose workers do them instead.
        shard: (3, 64): this run does the third of 64 equal shares.
    """

    workers: int | None = None
    scheduler: str | None = None
    shard: tuple[int, int] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other commands write to the same table."""
        return self.shard is not None

    def of(self, cases: Sequence[Case]) -> Sequence[Case]:
        """The cases of this run's shard: every 64th, so that neighbours, which often are alike, are spread."""
        if self.shard is None:
            return cases
        number, count = self.shard
        return cases[number - 1 :: count]

    def plan(self, options: Options, count: int) -> WorkerPlan | None:
        """The workers for `count` cases; None where this process does them by itself.

        Raises:
            UsageError: when there are more devices than workers.
            DeviceError: when GPUs are asked for and none is there.
        """
        devices = devices_of(options.device)
        if self.workers is None and devices == [options.device]:
            return None
        if devices == ["auto"]:
            devices = best_devices()
        wanted, why = len(devices) if self.workers is None else self.workers, ""
        if wanted == AUTO:
            gpus = 0 if devices == ["cpu"] else len(devices)
            wanted, why = auto_workers(gpus, usable_cores(), free_memory())
        if wanted < len(devices):
            raise UsageError(f"{len(devices)} devices need as many --workers, not {wanted}; name fewer of them.")
        wanted = max(1, min(wanted, count))
        if wanted == 1 and options.device in ("auto", devices[0]):
            return None
        return _planned(options, devices, wanted, why)


def _planned(options: Options, devices: Sequence[str], wanted: int, why: str) -> WorkerPlan:
    cores = available_cores()
    share = max(1, len(cores) // wanted)
    threads = options.threads or share
    each = tuple(replace(options, device=devices[number % len(devices)], threads=threads) for number in range(wanted))
    # Bound to cores of their own, because each would else begin with the first ones of the machine.
    bound = threads * wanted <= len(cores)
    own = tuple(tuple(cores[n * share : (n + 1) * share]) if bound else () for n in range(wanted))
    on = f" on {', '.join(devices)}" if devices != ["cpu"] else ""
    plural = "s" * (threads > 1)
    sentence = f"{wanted} worker{'s' * (wanted > 1)} with {threads} thread{plural} each{on}{why}."
    return WorkerPlan(each, own, sentence)


def auto_workers(gpus: int, cores: int, free_bytes: int) -> tuple[int, str]:
    """How many workers make sense, and why, for the end of a sentence.

    One a core, if there is memory for so many: two threads make the embedded net only a tenth faster than one
    (Testing/benchmarks/results/costs.md).

    Args:
        gpus: to compute on; 0 is on the CPU.
        cores: that may be used.
        free_bytes: memory that can be had.
    """
    each = worker_bytes(LARGE_CT_VOXELS)
    by_memory = max(1, free_bytes // each)
    if gpus:
        return gpus, ", one a device"
    why = f" ({cores} cores, memory for {by_memory}: {free_bytes / GIB:.0f} GiB free / {each / GIB:.1f} GiB)"
    return min(cores, by_memory), why


def worker_bytes(voxels: int) -> int:
    """Memory that a worker takes for CTs of at most so many voxels, with the process that reads for it."""
    return int(WORKER_GIB * GIB) + BYTES_A_VOXEL * voxels


def devices_of(name: str) -> list[str]:
    """The devices that --device names: one, several with commas between them, or "all".

    Raises:
        DeviceError: for "all", when there is no GPU.
        UsageError: when one is named twice, or none is.
    """
    if name == "all":
        return cuda_devices()
    devices = [one.strip() for one in name.split(",")]
    if not all(devices) or len(set(devices)) < len(devices):
        raise UsageError(f"'{name}' names a device twice, or none; give e.g. cuda:0,cuda:1.")
    return devices


def best_devices() -> list[str]:
    """All GPUs there are, or else the CPU."""
    gpus = [device.name for device in list_devices() if device.name not in ("auto", "cpu")]
    return gpus or ["cpu"]


def available_cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
