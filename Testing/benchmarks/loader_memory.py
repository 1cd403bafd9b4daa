"""Memory of the processes that load patches, by how they get the cases and how they are started.

    python Testing/benchmarks/loader_memory.py [--cases 4000] [--workers 4]

Linux only. The cases have as many voxels stored as those of FLARE23 with fused labels: 200 of each of 14 structures.
All of them are one small array on disk, which is read as in a training. Each way is measured when every worker has
loaded patches. The proportional set size counts a page that n processes share as 1/n in each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import psutil
from harness import table
from torch.utils.data import DataLoader

from flareseg.volume import Geometry, Volume
from train.augmentation.dataset import PatchDataset, collate, start_worker
from train.common.parallel import worker_context
from train.data.cache import CachedCase, load_cached, write_image, write_labels
from train.data.case_list import CaseList
from train.data.index import CLASSES
from train.fit_config import AugmentConfig
from train.net_config import NetConfig

SPACING = (3.0, 3.0, 3.0)
NET = NetConfig(SPACING, (32, 48, 48), filters=[4, 8, 8], clip_hu=(-200.0, 300.0), mean_hu=50.0, std_hu=100.0)
BATCHES = 5
"""Loaded by each worker before it is measured."""


def make_case(folder: Path) -> CachedCase:
    """A case of noise in which every structure has many voxels."""
    hu = np.random.default_rng(0).integers(0, 100, (60, 80, 100)).astype(np.int16)
    labels, geometry = (hu % CLASSES).astype(np.uint8), Geometry(hu.shape, SPACING)
    write_image(folder, Volume(hu, geometry), SPACING)
    write_labels(folder, "fused", labels, geometry, np.ones(CLASSES, bool))
    return load_cached(folder, "fused")


def proportional_mib(pid: int) -> float:
    """The proportional set size of a process in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure(cases: Sequence[CachedCase], workers: int, context: BaseContext) -> list[float]:
    """MiB of each worker, and of the server that forked them, if there is one."""
    dataset = PatchDataset(
        cases, [1.0] * len(cases), NET, NET.plan(), AugmentConfig(), foreground=0.67, seed=0, length=10**6,
        finished=False,
    )  # fmt: skip
    before = set(children())
    loader = DataLoader(
        dataset, batch_size=2, collate_fn=collate, num_workers=workers, worker_init_fn=start_worker,
        multiprocessing_context=context,
    )  # fmt: skip
    batches = iter(loader)
    for _ in range(BATCHES * workers):
        next(batches)
    return [proportional_mib(pid) for pid in set(children()) - before]


def children() -> list[int]:
    """The processes below this one: those that load, and the server that forks them."""
    found = [one.pid for one in psutil.Process().children(recursive=True)]
    return [pid for pid in found if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=4)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        make_case(Path(folder) / "case")
        plain = [load_cached(Path(folder) / "case", "fused") for _ in range(arguments.cases)]
        cases = [replace(case, name=f"flare23_{number:04d}") for number, case in enumerate(plain)]
        del plain
        ways = {
            "a list, processes spawned": (cases, get_context("spawn")),
            "shared, processes spawned": (CaseList(cases), get_context("spawn")),
            "shared, processes forked from a server": (CaseList(cases), worker_context()),
        }
        rows = []
        for name, (some, context) in ways.items():
            found = measure(some, arguments.workers, context)
            rows.append([name, f"{statistics.median(found):.0f}", f"{sum(found):.0f}"])
    header = [f"{arguments.cases} cases, {arguments.workers} workers", "MiB a worker", "MiB of all"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
