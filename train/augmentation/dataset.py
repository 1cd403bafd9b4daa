"""Reproducible stream of patches from the cached cases, and their batches.

With a GPU the workers only read samples (`finished=False`), which are augmented on the GPU; otherwise the workers also
augment (`finished=True`). Both ways draw the same random numbers and end in `to_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, default_collate, get_worker_info

from flareseg.errors import FlareError, InputError
from flareseg.labels import by_name
from flareseg.model.plan import Plan
from train.augmentation.patch_sampling import Sample, read_sample
from train.augmentation.pipeline import NOTHING, augmented, mirrored
from train.common.distributed import Rank
from train.common.memory import keep_memory
from train.common.parallel import end_with_parent
from train.data.cache import CachedCase
from train.data.index import CLASSES, IGNORE
from train.fit_config import AugmentConfig
from train.net_config import NetConfig

_UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Patch:
    """One augmented patch.

    Attributes:
        name: of the case.
        image: (1, z, y, x) float32, normalised.
        labels: (z, y, x) uint8, output channels of the network; 255 unknown.
        known: (channels) bool, the annotated channels of the case.
    """

    name: str
    image: torch.Tensor
    labels: torch.Tensor
    known: torch.Tensor


@dataclass(frozen=True)
class Unreadable:
    """Instead of a patch, why a worker could not read it."""

    reason: str


@dataclass(frozen=True)
class Oversampling:
    """nnU-Net's rule: of each step the last patches are those that show a structure.

    nnU-Net's last patches of a step are those of its last ranks; here every rank has some, as `StepSampler` deals them.

    Attributes:
        per_step: patches of a step, over all ranks.
        foreground: fraction of them; in a batch of 2, 0.33 is one.
    """

    per_step: int
    foreground: float

    def chance(self, index: int) -> float:
        """1 if the patch of this index shows a structure, else 0."""
        return float(index % self.per_step >= round(self.per_step * (1 - self.foreground)))


class PatchDataset(Dataset["Sample | Patch | Unreadable"]):
    """Patch i is always the same: its case, position and augmentation are drawn from (seed, i)."""

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
        oversampling: Oversampling | None = None,
    ) -> None:
        """
        Args:
            cases: to sample patches from; a `CaseList` is shared with the workers, a list copied to each.
            shares: sampling weight of each case; any positive scale.
            net: defines the output channels and the foreground structures.
            plan: of that network: patch size, spacing, intensities.
            augment: augmentation parameters.
            foreground: fraction of patches centred near a foreground structure, if the case has one; structures are
                chosen with equal probability. Other patches are placed at random.
            seed: of the stream.
            length: number of patches.
            finished: yield `Patch`; otherwise `Sample`, to be augmented by `to_batch`.
            emphasis: factors for structures that are to be chosen more often, by name.
            oversampling: which patches are near a structure instead of a `foreground` of them.

        Raises:
            InputError: when there are no cases.
        """
        weights = np.asarray(shares, np.float64)
        if not len(cases) or weights.sum() <= 0:
            raise InputError("There is no case to train on.")
        self._cases, self._shares = cases, np.cumsum(weights / weights.sum())
        self._net, self._plan, self._augment = net, plan, augment
        self._emphasis = {by_name(name).value: factor for name, factor in (emphasis or {}).items()}
        self._foreground, self._seed, self._length, self.finished = foreground, seed, length, finished
        self._oversampling = oversampling

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample | Patch | Unreadable:
        try:
            return self._patch(index)
        except FlareError as error:
            if get_worker_info() is None:
                raise
            return Unreadable(str(error))  # an exception of a worker would arrive with its traceback as its text

    def batch(self, indices: Sequence[int], device: torch.device) -> dict[str, Any]:
        """These patches as a batch on `device`, in full precision also where the caller computes in half."""
        with torch.autocast(device.type, enabled=False):
            return to_batch([self._patch(index) for index in indices], self._net, self._plan, self._augment, device)

    def _patch(self, index: int) -> Sample | Patch:
        rng = np.random.default_rng([self._seed, index])
        number = int(np.searchsorted(self._shares, rng.random(), side="right"))
        case = self._cases[min(number, len(self._cases) - 1)]
        share = self._oversampling.chance(index) if self._oversampling else self._foreground
        centred = self._oversampling is not None
        sample = read_sample(case, self._net, self._plan, self._augment, share, self._emphasis, rng, centred=centred)
        if not self.finished:
            return sample
        return finished_patch(sample, self._net, self._plan, self._augment, torch.device("cpu"))


def finished_patch(sample: Sample, net: NetConfig, plan: Plan, augment: AugmentConfig, device: torch.device) -> Patch:
    """Augment a sample, and map FLARE label values to output channels."""
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


def collate(samples: Sequence[Sample | Patch | Unreadable]) -> list[Sample] | dict[str, Any]:
    """`collate_fn` of the DataLoader: samples stay a list, because their sizes differ; finished patches are stacked.

    Workers stack them in shared memory. If one is unreadable, the reason is all that is left of the batch.
    """
    reasons = [item.reason for item in samples if isinstance(item, Unreadable)]
    if reasons:
        return {_UNREADABLE: reasons[0]}
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
    """Make a batch on `device`; raw samples are augmented there.

    Args:
        samples: of a `PatchDataset`, or the output of `collate`.
        net, plan, augment: as for the dataset.
        device: of the batch.

    Returns:
        "image": (b, 1, z, y, x) float32, normalised; "labels": (b, z, y, x) uint8 output channels, 255 unknown;
        "known": (b, channels) bool; "spacing": (b, 3) mm per voxel; "names": of the cases.

    Raises:
        InputError: when one of them could not be read.
    """
    if isinstance(samples, dict) and _UNREADABLE in samples:
        raise InputError(samples[_UNREADABLE])
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
    """`worker_init_fn` of the DataLoader: a worker ends with the training, and one that augments keeps its memory from
    patch to patch, see `keep_memory`."""
    end_with_parent()
    worker = get_worker_info()
    if worker and isinstance(worker.dataset, PatchDataset) and worker.dataset.finished:
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
    """Fixed, unaugmented batches of one patch each on `device`, from all `cases` in turn."""
    batches = []
    for number in range(patches if cases else 0):
        rng = np.random.default_rng([seed, number])
        sample = read_sample(cases[number % len(cases)], net, plan, NOTHING, foreground, {}, rng)
        batches.append(to_batch([sample], net, plan, NOTHING, device))
    return batches


class StepSampler(Sampler[int]):
    """Sampler of the next `size` unused indices per epoch, so that a resumed training continues with the same patches.

    With n ranks, each takes every n-th index.
    """

    def __init__(self, size: int, used: Callable[[], int], rank: Rank | None = None) -> None:
        """
        Args:
            size: patches per epoch, over all ranks.
            used: returns the number of patches used so far, over all ranks, at the start of an epoch.
            rank: of this process.
        """
        self._size, self._used, self._rank = size, used, rank or Rank()

    def __len__(self) -> int:
        return len(self._rank.share(range(self._size)))

    def __iter__(self) -> Iterator[int]:
        first = self._used()
        return iter(self._rank.share(range(first, first + self._size)))
