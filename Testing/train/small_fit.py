"""A fit so small that it takes seconds: two blocks in noise. `python small_fit.py FOLDER` runs it in a process of its
own, to be killed by a test."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # `train` is not installed
from train.data.index import CLASSES
from train.fit_config import AugmentConfig, CorruptConfig, FitConfig
from train.net_config import NetConfig
from train.training.module import FitJob
from train.training.tasks import Reconstruct, Segment, Task
from train.training.trainer import fit

NET = NetConfig(
    spacing_zyx_mm=(3.0, 3.0, 3.0),
    patch_zyx=(16, 16, 16),
    filters=[6, 8, 8],
    segments=["liver", "spleen"],
    clip_hu=(-200.0, 350.0),
    mean_hu=50.0,
    std_hu=100.0,
    deep_supervision=1,
)
SETTINGS = FitConfig(
    net="small",
    epochs=8,
    steps_per_epoch=8,
    batch_size=2,
    optimizer="adamw",
    learning_rate=0.01,
    average_decay=0.8,
    precision="32-true",
    augment=AugmentConfig(lesion=0, field_of_view=0),
    corrupt=CorruptConfig(),
)
TASKS = {"segment": Segment, "reconstruct": Reconstruct}


@dataclass(frozen=True)
class MemoryCase:
    """What the training uses of a cached case, in memory."""

    name: str
    array: NDArray[np.int16]
    values: NDArray[np.uint8] | None
    known: NDArray[np.bool_] = field(default_factory=lambda: np.ones(CLASSES, bool))
    spacing_zyx_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    source: str = "memory"
    image_hash: str = ""
    labels_hash: str = ""

    @property
    def shape_zyx(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def centres(self) -> dict[int, NDArray[Any]]:
        if self.values is None:
            return {}
        return {int(value): np.argwhere(self.values == value)[::9] for value in np.unique(self.values) if value}

    def hu(self, box: tuple[slice, ...]) -> NDArray[np.int16]:
        return np.ascontiguousarray(self.array[box])

    def labels(self, box: tuple[slice, ...]) -> NDArray[np.uint8]:
        assert self.values is not None
        return np.ascontiguousarray(self.values[box])


def small_case(seed: int, name: str = "patient") -> MemoryCase:
    """Liver on the one side and spleen on the other."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((24, 28, 30), np.uint8)
    z, y = rng.integers(2, 8, 2)
    labels[z : z + 12, y : y + 14, 3:12], labels[z : z + 10, y : y + 12, 18:26] = 1, 3
    hu = np.choose(labels, [-80, 110, 0, 60]) + rng.normal(0, 12, labels.shape)
    return MemoryCase(f"{name}_{seed}", hu.astype(np.int16), labels)


def small_work(folder: Path, net: NetConfig = NET, settings: FitConfig = SETTINGS, **changes: Any) -> FitJob:
    cases: Any = [small_case(seed) for seed in range(3)]
    values = {"cases": cases, "shares": [1.0] * len(cases), "seed": 5} | changes
    return FitJob(folder=folder, net=net, plan=net.plan(), settings=settings, **values)


def task_of(work: FitJob) -> Task:
    return TASKS[work.settings.task](work.net, work.plan, work.settings)


def run(work: FitJob) -> None:
    fit(work, partial(task_of, work))


if __name__ == "__main__":
    run(small_work(Path(sys.argv[1])))
