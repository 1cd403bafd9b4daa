"""Whose folder a fit's folder is: that of this fit, of one with other settings or data, or nobody's yet."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from flareseg.errors import UsageError
from train.common.distributed import Rank
from train.common.json_files import read_table, write_json
from train.training.checkpoints import DONE, LAST
from train.training.module import FitJob
from train.training.stamps import STAMP, Stamp, differences, stored_stamp

DESCRIPTION, PROCESSES = "fit.json", "processes"
_POLL_S = 0.2
_told: set[Path] = set()


def claim(job: FitJob, rank: Rank) -> None:
    """Write fit.json into the folder of a fit, or check that what is in it is of the same settings and data.

    A stale fit is removed if `job.redo`, by the main rank; the others wait for that.

    Raises:
        UsageError: when it is stale, and is not to be trained again.
    """
    found = read_table(job.folder / DESCRIPTION)
    begun = has_begun(job.folder)
    if begun:
        if rank.is_main:
            if STAMP not in found:
                tell_unknown(job.folder)
            _tell_other_count(job, found.get(PROCESSES, rank.count), rank.count)
        stale = stale_for(job, found)
        if not stale:
            return
        if not job.redo:
            raise UsageError(refusal(job.folder.name, stale))
        if rank.is_main:
            print(f"{job.folder.name}: trained again: {'; '.join(stale)}", flush=True)
            _clear(job.folder)
        else:
            _wait_for(job.folder / DESCRIPTION, job.stamp)
    if not begun or rank.is_main:
        write_json(job.folder / DESCRIPTION, job.describe() | {PROCESSES: rank.count, STAMP: job.stamp})


def has_begun(folder: Path) -> bool:
    """Whether there is anything of a fit that would be lost."""
    return any((folder / name).exists() for name in (DONE, LAST))


def stale_for(job: FitJob, found: dict[str, Any]) -> list[str]:
    """In words, how the fit that `found`, its fit.json, describes differs from `job`, as it would be trained now."""
    return differences(stored_stamp(found), job.stamp, by_score=job.by_score)


def tell_unknown(folder: Path) -> None:
    """Say once that a fit is taken as it is."""
    if folder not in _told:
        _told.add(folder)
        print(
            f"{folder.name}: taken as it is; of which settings, cases and labels it was made is not known (it has no "
            "stamp). Remove its folder to train it again.",
            flush=True,
        )


def _tell_other_count(job: FitJob, before: int, now: int) -> None:
    """Say if a fit that is not finished goes on with another number of ranks, which makes it no other fit."""
    if before != now and not (job.folder / DONE).exists():
        size = job.settings.batch_size
        print(
            f"{job.folder.name}: begun with {before} processes, goes on with {now}: a step sees {now * size} patches "
            f"instead of {before * size}.",
            flush=True,
        )


def refusal(name: str, stale: list[str]) -> str:
    """The error for a stale fit."""
    return (
        f"The fit '{name}' is stale: {'; '.join(stale)}. Train it again with --redo, put back what it was, or give "
        "another folder with runs=..."
    )


def _clear(folder: Path) -> None:
    """Remove everything but fit.json, by which other ranks still see that the fit is stale; done.json first."""
    (folder / DONE).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != DESCRIPTION:
            path.unlink()


def _wait_for(path: Path, stamp: Stamp) -> None:
    while read_table(path).get(STAMP) != stamp:
        time.sleep(_POLL_S)
