"""The workers of a Dask cluster that do the cases of a run; this process gives them tasks and records what they did.

When a worker dies, Dask gives its tasks to others. Only a few tasks are given at a time, so that cases stay free for
other runs in the folder, and little has to be taken back at Ctrl+C.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flareseg.cases.dicom_files import DicomFiles
from flareseg.cases.resume import TakenOver
from flareseg.commands.case_queue import CaseQueue
from flareseg.commands.dask_worker import do_task
from flareseg.commands.pipeline import check_places
from flareseg.commands.segment_request import SegmentRequest, model_and_options
from flareseg.commands.task import Follower, Task
from flareseg.errors import Cancelled, FlareError, InputError, UsageError
from flareseg.model.catalogue import find_model
from flareseg.system.failures import reported
from flareseg.text import shown

if TYPE_CHECKING:
    from distributed import Future

LOOK_EVERY_S = 0.05
COUNT_EVERY_S = 5.0
ANSWER_WITHIN_S = 30
TASKS_A_WORKER = 3
"""One is read, one computed, and one waits so that the worker never does."""


class DaskCrew:
    """The workers of a cluster.

    Args:
        request: what the user asked for.
        scheduler: its address, or the file into which it wrote that.
        cancelled: asked now and then.

    Raises:
        UsageError: where Dask is not installed.
        InputError: when no scheduler answers.
    """

    def __init__(self, request: SegmentRequest, scheduler: str, cancelled: Callable[[], bool]) -> None:
        try:
            import distributed
        except ImportError:
            raise UsageError("--scheduler needs Dask; run: pip install 'flareseg[dask]'") from None
        self._request, self._cancelled = _for_elsewhere(request), cancelled
        self._made_with = model_and_options(request)
        where: dict[str, Any] = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
        try:
            self._client = distributed.Client(**where, timeout=ANSWER_WITHIN_S, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # asyncio's TimeoutError is an OSError, too, or becomes one
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"No Dask scheduler answers at '{shown(scheduler)}': {reason}.") from None
        self._pending: dict[Future, tuple[Task, Follower]] = {}
        self._counted = (-COUNT_EVERY_S, 0)

    def __enter__(self) -> DaskCrew:
        return self

    def __exit__(self, *_: object) -> None:
        """Take back what is not begun, and leave the cluster as it is."""
        with suppress(Exception):  # a scheduler that has gone has nothing to take back
            self._client.cancel(list(self._pending), force=True)
            self._client.close(timeout=ANSWER_WITHIN_S)

    def run(self, feed: CaseQueue, follow: Callable[[Task], Follower]) -> None:
        """Have all tasks of `feed` done.

        Raises:
            Cancelled: when the user asked to stop; what is being computed is computed to its end, and not recorded.
            InputError: when the scheduler has gone.
        """
        while True:
            if self._cancelled():
                raise Cancelled
            while len(self._pending) < TASKS_A_WORKER * self._workers() and (task := feed.poll()):
                self._submit(task, follow(task))
            for future in [one for one in self._pending if one.done()]:
                task, follower = self._pending.pop(future)
                if self._conclude(future, task, follower):
                    feed.stop()
            if not self._pending and feed.over:
                return
            time.sleep(LOOK_EVERY_S)

    def _workers(self) -> int:
        """How many there are; at least one, for which the first tasks wait."""
        counted, number = self._counted
        if time.monotonic() > counted + COUNT_EVERY_S:
            try:
                number = len(self._client.nthreads())
            except Exception as error:
                raise InputError(f"The Dask scheduler has gone: {reported(error)}") from None
            self._counted = (time.monotonic(), number)
        return max(1, number)

    def _submit(self, task: Task, follower: Follower) -> None:
        try:
            if problem := task.problem or (InputError(task.case.problem) if task.case.problem else None):
                raise problem
            if task.message:
                follower.message(task.message)
            check_places(self._request, task)
            follower.started()
        except TakenOver:
            follower.left()
            return
        except FlareError as error:
            follower.failed(str(error), False)
            return
        key = f"flareseg-{secrets.token_hex(8)}"
        # What of its files is there when another worker does it again is of the one that died.
        sent = replace(_absolute(task), replace=True, message="")
        future = self._client.submit(do_task, sent, self._request, self._made_with, key=key, pure=False)
        self._pending[future] = task, follower

    @staticmethod
    def _conclude(future: Future, task: Task, follower: Follower) -> bool:
        """Record what became of a task; whether no other can be done either."""
        source = task.case.source
        if future.status == "error":
            error = future.exception()
            lost = type(error).__name__ == "KilledWorker"
            text = f"'{source}' ended several Dask workers, as the system does where memory runs out."
            follower.failed(text if lost else reported(error, source), False)
            return False
        if future.status != "finished":
            follower.failed(f"'{source}' was taken back on the cluster ({future.status}).", False)
            return False
        unusable = False
        for method, arguments in future.result():
            unusable = unusable or (method == "failed" and arguments[1])
            try:
                getattr(follower, method)(*arguments)
            except FlareError as error:
                follower.failed(reported(error, source), False)
        return unusable


def _for_elsewhere(request: SegmentRequest) -> SegmentRequest:
    """The request in words that mean the same in another current folder."""
    path = find_model(request.model)
    return replace(request, model=str(path.absolute())) if path == Path(request.model) else request


def _absolute(task: Task) -> Task:
    def full(path: Path | None) -> Path | None:
        return path.absolute() if path else None

    case = replace(
        task.case, source=task.case.source.absolute(), outputs=tuple(path.absolute() for path in task.case.outputs)
    )
    dicom = DicomFiles(full(task.dicom.seg), full(task.dicom.sr), full(task.dicom.rtstruct))
    files = tuple(path.absolute() for path in task.files)
    return replace(task, case=case, files=files, dicom=dicom, report=full(task.report), preview=full(task.preview))
