"""Ranks of a distributed run, and barriers between them.

torchrun and SLURM's srun start ranks that can train together. The tasks of a SLURM array share only a file system, and
can only divide cases among themselves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from flareseg.errors import UsageError

Item = TypeVar("Item")

_TOGETHER = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN")
_CONNECTING, _LONGEST = timedelta(minutes=5), timedelta(days=30)


@dataclass(frozen=True)
class Rank:
    """Process `number` of `count`, from 0."""

    number: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this rank does the work that must be done only once."""
        return self.number == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every count-th item; the shares of all ranks are disjoint and complete."""
        return items[self.number :: self.count]


def this_rank(environment: Mapping[str, str] | None = None) -> Rank:
    """The rank of this process under torchrun or srun; 0 of 1 otherwise, also in a SLURM array."""
    found = os.environ if environment is None else environment
    for number, count in _TOGETHER:
        rank = _rank(found.get(number), found.get(count))
        if rank:
            return rank
    return Rank()


def sharing_rank(environment: Mapping[str, str] | None = None) -> Rank:
    """The rank for dividing cases: as `this_rank`, or the index in a SLURM array."""
    found = os.environ if environment is None else environment
    together = this_rank(found)
    if together.count > 1:
        return together
    number, count, first = (found.get(name) for name in _ARRAY)
    return _rank(number, count, first or "0") or together


def _rank(number: str | None, count: str | None, first: str = "0") -> Rank | None:
    try:
        rank = Rank(int(number or "") - int(first), int(count or ""))
    except ValueError:
        return None
    return rank if 0 <= rank.number < rank.count else None


class Barrier:
    """Barrier for the ranks of one launch.

    torchrun's ranks synchronise through its key-value store, srun's through small files in `folder`, named after the
    job step. If a rank fails, torchrun or SLURM ends the others. No collective operation is used, so a rank may work
    for hours while the others wait.

    Raises:
        UsageError: when torchrun was started without a master port.
    """

    def __init__(self, rank: Rank, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._rank = rank
        found = os.environ if environment is None else environment
        launch = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
        self._prefix = "-".join(found.get(name, "0") for name in launch)
        self._folder = folder / ".ranks" / self._prefix
        self._address = (found.get("MASTER_ADDR", ""), int(found.get("MASTER_PORT", "0") or 0))
        self._has_store = "TORCHELASTIC_RUN_ID" in found
        if self._has_store and rank.count > 1 and not self._address[1]:
            raise UsageError("torchrun gave no master port; start it with --standalone or --master-port.")

    def main_only(self, name: str, work: Callable[[], None]) -> None:
        """The main rank does the work; the others wait until it is done."""
        if self._rank.is_main:
            work()
        self.wait(name)

    def wait(self, name: str) -> None:
        """Wait until every rank has reached the point `name`; each name can be used once."""
        if self._rank.count == 1:
            return
        if self._has_store:
            self._wait_at_store(name)
        else:
            self._wait_at_files(name)

    def _wait_at_store(self, name: str) -> None:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(*self._address, is_master=False, timeout=_CONNECTING)
        keys = [f"flareseg/{self._prefix}/{name}/{number}" for number in range(self._rank.count)]
        store.set(keys[self._rank.number], "here")
        store.wait(keys, _LONGEST)

    def _wait_at_files(self, name: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        files = [self._folder / f"{name}.{number}" for number in range(self._rank.count)]
        files[self._rank.number].touch()
        while not all(file.exists() for file in files):
            time.sleep(0.2)
