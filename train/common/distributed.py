"""Which process of how many this is, and which share of the cases it takes.

torchrun and SLURM's srun start ranks that can train together. The tasks of a SLURM array, and those that --shard tells
apart, share only a file system, and can only divide cases among themselves. Each of them may have several ranks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from flareseg.errors import UsageError

Item = TypeVar("Item")
Environment = Mapping[str, str]

_TOGETHER = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_HERE = {"RANK": ("LOCAL_RANK", "LOCAL_WORLD_SIZE"), "SLURM_PROCID": ("SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")}
_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP")


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

    def within(self, shard: Rank) -> Rank:
        """Its place among all ranks of all shards, of which each has as many."""
        return Rank(shard.number * self.count + self.number, shard.count * self.count)

    def __str__(self) -> str:
        return f"{self.number + 1}/{self.count}"


ALONE = Rank()


def this_rank(environment: Environment | None = None) -> Rank:
    """The rank of this process under torchrun or srun; 0 of 1 otherwise, also in a SLURM array."""
    return _launched(environment)[0]


def rank_here(environment: Environment | None = None) -> Rank:
    """The place of this process among the ranks of the same machine."""
    found = os.environ if environment is None else environment
    rank, launcher = _launched(environment)
    if rank.count == 1:
        return ALONE
    number, count = (found.get(name, "") for name in _HERE[launcher])
    tasks = re.match(r"\d+", count)  # SLURM writes "8(x2)" for eight tasks on each of two machines
    return _rank(number, tasks.group() if tasks else str(rank.count)) or rank


def shard_named(text: str) -> Rank:
    """The share that "3/32" names, the third of 32.

    Raises:
        UsageError: when it is no such text.
    """
    number, _, count = text.partition("/")
    shard = _rank(number, count, "1") if number.isdecimal() and count.isdecimal() else None
    if shard is None:
        raise UsageError(f"'{text}' is no share of the cases; name the third of 32 as --shard 3/32.")
    return shard


def shard_of_array(environment: Environment | None = None) -> Rank:
    """The share of this task of a SLURM array; everything outside of one.

    Raises:
        UsageError: when the array's numbers have gaps, as those of tasks that are started again.
    """
    found = os.environ if environment is None else environment
    number, count, first, step = (found.get(name, "") for name in _ARRAY)
    if not number.isdecimal() or not count.isdecimal() or int(count) < 2:
        return ALONE
    least, every = (int(text) if text.isdecimal() else 0 for text in (first, step))
    place, between = divmod(int(number) - least, max(every, 1))
    if between or not 0 <= place < int(count):
        raise UsageError(
            f"The numbers of this SLURM array have gaps, so its task {number} does not say which share of the cases it "
            "takes; say it with --shard, as in --shard 3/32."
        )
    return Rank(place, int(count))


def _launched(environment: Environment | None) -> tuple[Rank, str]:
    found = os.environ if environment is None else environment
    for number, count in _TOGETHER:
        rank = _rank(found.get(number), found.get(count))
        if rank:
            return rank, number
    return ALONE, ""


def _rank(number: str | None, count: str | None, first: str = "0") -> Rank | None:
    try:
        rank = Rank(int(number or "") - int(first), int(count or ""))
    except ValueError:
        return None
    return rank if 0 <= rank.number < rank.count else None
