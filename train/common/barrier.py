"""Ranks of one launch wait for each other, and none waits for one that is dead."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread

from flareseg.errors import OutputError, UsageError
from train.common.distributed import Environment, Rank

LOST_AFTER_S = 600.0
_BEAT_S, _LOOK_S, _POLL_S = 15.0, 5.0, 0.2
_CONNECTING, _LONGEST = timedelta(minutes=5), timedelta(days=30)


class Barrier:
    """Barrier for the ranks of one launch.

    torchrun's ranks synchronise through its key-value store, srun's through small files in `folder`, named after the
    job step. No collective operation is used, so a rank may work for hours while the others wait.

    If a rank ends, torchrun ends the others; and they end by themselves if torchrun is killed. srun does so with
    --kill-on-bad-exit only; without, ranks that wait for a lost one give up.

    Raises:
        UsageError: when torchrun was started without a master port.
    """

    def __init__(self, rank: Rank, folder: Path, environment: Environment | None = None) -> None:
        self._rank, self._points = rank, 0
        found = os.environ if environment is None else environment
        launch = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
        self._prefix = "-".join(found.get(name, "0") for name in launch)
        self._address = (found.get("MASTER_ADDR", ""), int(found.get("MASTER_PORT", "0") or 0))
        self._has_store = "TORCHELASTIC_RUN_ID" in found
        if rank.count == 1:
            return
        if not self._has_store:
            self._files = _Signs(folder / ".ranks" / self._prefix, rank)
        elif not self._address[1]:
            raise UsageError("torchrun gave no master port; start it with --standalone or --master-port.")
        else:
            Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def main_only(self, name: str, work: Callable[[], None]) -> None:
        """The main rank does the work; the others wait until it is done."""
        if self._rank.is_main:
            work()
        self.wait(name)

    def wait(self, name: str) -> None:
        """Wait until every rank has reached the point `name`; all have to come to the same points in the same order.

        Raises:
            OutputError: when a rank has ended, or has not been heard of for ten minutes.
        """
        if self._rank.count == 1:
            return
        self._points += 1
        name = f"{self._points}.{name}"
        if self._has_store:
            self._wait_at_store(name)
        else:
            self._files.wait(name)

    def _wait_at_store(self, name: str) -> None:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(*self._address, is_master=False, timeout=_CONNECTING)
        keys = [f"flareseg/{self._prefix}/{name}/{number}" for number in range(self._rank.count)]
        store.set(keys[self._rank.number], "here")
        store.wait(keys, _LONGEST)


class _Signs:
    """Files by which the ranks of srun know of each other: where each has come to, that it lives, that it has ended."""

    def __init__(self, folder: Path, rank: Rank) -> None:
        self._folder, self._rank = folder, rank
        folder.mkdir(parents=True, exist_ok=True)
        self._sign("ended").unlink(missing_ok=True)
        self._sign("alive").touch()
        Thread(target=self._beat, daemon=True).start()
        atexit.register(self._end)

    def wait(self, name: str) -> None:
        missing = [number for number in range(self._rank.count) if number != self._rank.number]
        self._sign(name).touch()
        began = looked = time.monotonic()
        while missing := [number for number in missing if not self._sign(name, number).exists()]:
            time.sleep(_POLL_S)
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                lost = [number for number in missing if self._is_lost(number, looked - began)]
                # it may have come here and ended well since it was last looked for
                if lost and not self._sign(name, lost[0]).exists():
                    raise OutputError(
                        f"Process {lost[0] + 1} of {self._rank.count} ended or was lost before it came to "
                        f"'{name.partition('.')[2]}'; see its own message, then start again: what is done is kept."
                    )

    def _is_lost(self, number: int, waited_s: float) -> bool:
        if self._sign("ended", number).exists():
            return True
        try:  # both times are the file server's
            silent_s = self._sign("alive").stat().st_mtime - self._sign("alive", number).stat().st_mtime
        except OSError:  # it has not begun
            silent_s = waited_s
        return silent_s > LOST_AFTER_S

    def _sign(self, what: str, number: int | None = None) -> Path:
        return self._folder / f"{what}.{self._rank.number if number is None else number}"

    def _beat(self) -> None:
        while True:
            with suppress(OSError):
                self._sign("alive").touch()
            time.sleep(_BEAT_S)

    def _end(self) -> None:
        with suppress(OSError):
            self._sign("ended").touch()


def _end_with(launcher: int) -> None:
    """End this process when the one that launched it has ended, however that ended."""
    while os.getppid() == launcher:
        time.sleep(_LOOK_S)
    os._exit(1)
