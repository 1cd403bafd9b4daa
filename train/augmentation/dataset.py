"""The endless stream of patches cut from the cached cases, the same on every run, and the batches made of them.

Two ways lead to a batch. On a GPU the workers only read (`finished=False`) and the GPU augments; else the workers do
all of it (`finished=True`). Both draw the same numbers, and `to_batch` ends both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, default_collate

from flareseg.errors import InputError
from flareseg.labels import by_name
from flareseg.model.plan import Plan
from train.augmentation.patch_sampling import Sample, read_sample
from train.augmentation.pipeline import NOTHING, augmented, mirrored
from train.common.distributed import Rank
from train.common.memory import keep_memory
from train.config import AugmentConfig, NetConfig
from train.data.cache import CachedCase
from train.data.index import CLASSES, IGNORE


@dataclass(frozen=True)
class Patch:
    """One finished patch.

    Attributes:
        name: of the case.
        image: (1, z, y, x) float32, normalised.
        labels: (z, y, x) uint8, channels of the net; 255 unknown.
        known: (channels) bool, which channels the case annotates.
    """

    name: str
    image: torch.Tensor
    labels: torch.Tensor
    known: torch.Tensor


class PatchDataset(Dataset["Sample | Patch"]):
    """Patch number i is always the same: its case, place and augmentation are drawn from (seed, i)."""

    def __init__(
        self,
        cases: Sequence[CachedCase],
        shares: Sequence[float],
        net: NetConfig,
        plan: Plan,
        augment: AugmentConfig,
        *,
        foreground: float,
        seed: int,
        length: int,
        finished: bool,
        emphasis: Mapping[str, float] | None = None,
    ) -> None:
        """
        Args:
            cases: to cut patches from.
            shares: how often each case is drawn; any positive scale.
            net: whose structures the patches are drawn around, and become channels.
            plan: of that net: patch, spacing, intensities.
            augment: strengths.
            foreground: share of the patches that lie around a structure of the net, where the case has one; each of
                those that occur in it as often as the others. The rest lies anywhere.
            seed: of the stream.
            length: patches in it.
            finished: give `Patch`; otherwise `Sample`, to be augmented by `to_batch`.
            emphasis: names of structures that are drawn more often than others, and how many times as often.

        Raises:
            InputError: when there is no case to draw.
        """
        weights = np.asarray(shares, np.float64)
        if not len(cases) or weights.sum() <= 0:
            raise InputError("There is no case to train on.")
        self._cases, self._shares = list(cases), np.cumsum(weights / weights.sum())
        self._net, self._plan, self._augment = net, plan, augment
        self._emphasis = {by_name(name).value: factor for name, factor in (emphasis or {}).items()}
        self._foreground, self._seed, self._length, self._finished = foreground, seed, length, finished

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample | Patch:
        rng = np.random.default_rng([self._seed, index])
        number = int(np.searchsorted(self._shares, rng.random(), side="right"))
        case = self._cases[min(number, len(self._cases) - 1)]
        sample = read_sample(case, self._net, self._plan, self._augment, self._foreground, self._emphasis, rng)
        if not self._finished:
            return sample
        return finished_patch(sample, self._net, self._plan, self._augment, torch.device("cpu"))


def finished_patch(sample: Sample, net: NetConfig, plan: Plan, augment: AugmentConfig, device: torch.device) -> Patch:
    """Augment a sample; FLARE's numbers become the net's channels."""
    image, labels = augmented(sample, plan, augment, device)
    table = np.zeros(IGNORE + 1, np.uint8)
    table[list(net.values)] = np.arange(len(net.values))
    table[IGNORE] = IGNORE
    known = sample.known
    if sample.pose.flipped[2]:
        table, known = mirrored(table), mirrored(known)
    if not np.array_equal(table[:CLASSES], np.arange(CLASSES)):
        labels = torch.from_numpy(table).to(device).index_select(0, labels.flatten().int()).view(labels.shape)
    channels = torch.from_numpy(known[list(net.values)]).to(device)
    return Patch(sample.name, image[None], labels, channels)


def collate(samples: Sequence[Sample | Patch]) -> list[Sample] | dict[str, Any]:
    """What a DataLoader hands to `to_batch`: samples as they are, as their sizes differ; finished patches stacked.

    A worker stacks them in the memory that it shares with the training.
    """
    patches = [item for item in samples if isinstance(item, Patch)]
    if not patches:
        return [item for item in samples if isinstance(item, Sample)]
    names = ("image", "labels", "known")
    stacked: dict[str, Any] = {name: default_collate([getattr(patch, name) for patch in patches]) for name in names}
    return stacked | {"names": [patch.name for patch in patches]}


def to_batch(
    samples: Sequence[Sample | Patch] | dict[str, Any],
    net: NetConfig,
    plan: Plan,
    augment: AugmentConfig,
    device: torch.device,
) -> dict[str, Any]:
    """A batch on `device`; raw samples are augmented there.

    Args:
        samples: of a `PatchDataset`, or what `collate` made of them.
        net, plan, augment: as the dataset's.
        device: where the batch is wanted.

    Returns:
        "image": (b, 1, z, y, x) float32, normalised; "labels": (b, z, y, x) uint8 channels of the net, 255 unknown;
        "known": (b, channels) bool; "spacing": (b, 3) mm per voxel; "names": the cases.
    """
    if not isinstance(samples, dict):
        finished = [s if isinstance(s, Patch) else finished_patch(s, net, plan, augment, device) for s in samples]
        stacked = collate(finished)
        assert isinstance(stacked, dict)
        samples = stacked
    batch = {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in samples.items()
    }
    return batch | {"spacing": torch.tensor([plan.spacing_zyx_mm] * len(batch["names"]), device=device)}


def start_worker(number: int) -> None:
    """`worker_init_fn` of a DataLoader: a worker frees and allocates the same megabytes for every patch too."""
    keep_memory()


def validation_batches(
    cases: Sequence[CachedCase],
    net: NetConfig,
    plan: Plan,
    patches: int,
    seed: int,
    device: torch.device,
    *,
    foreground: float = 0.67,
) -> list[dict[str, Any]]:
    """Batches of one patch each on `device`, the same on every call, not augmented, from all `cases` in turn."""
    batches = []
    for number in range(patches if cases else 0):
        rng = np.random.default_rng([seed, number])
        sample = read_sample(cases[number % len(cases)], net, plan, NOTHING, foreground, {}, rng)
        batches.append(to_batch([sample], net, plan, NOTHING, device))
    return batches


class StepSampler(Sampler[int]):
    """The indices that follow those already used, `size` at a time: a resumed training sees what it would have seen.

    Of several ranks, each takes every n-th index.
    """

    def __init__(self, size: int, used: Callable[[], int], rank: Rank | None = None) -> None:
        """
        Args:
            size: patches of all ranks together in an epoch.
            used: returns, at the beginning of an epoch, how many patches all ranks together have taken so far.
            rank: this process, of how many.
        """
        self._size, self._used, self._rank = size, used, rank or Rank()

    def __len__(self) -> int:
        return len(self._rank.share(range(self._size)))

    def __iter__(self) -> Iterator[int]:
        first = self._used()
        return iter(self._rank.share(range(first, first + self._size)))
