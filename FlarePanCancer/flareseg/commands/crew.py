"""Worker processes of this machine that do the cases of a run, each with a model of its own and a process that reads.

This process gives them tasks and records what they did; one that dies is replaced, and its tasks are given again.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from flareseg.commands.case_queue import CaseQueue
from flareseg.commands.crew_messages import NEXT, Call, Given, Later, Orders, Reply
from flareseg.commands.many import WorkerPlan
from flareseg.commands.segment_request import SegmentRequest
from flareseg.commands.task import Follower, Task
from flareseg.errors import Cancelled, FlareError
from flareseg.system.children import kill, python_executable, receive, send
from flareseg.system.failures import reported

BOOT = """
import sys
sys.path[:] = sys.argv[1:]
from flareseg.commands.crew_worker import main
main()
"""
"""What a worker runs; tests put their own here."""
LOOK_EVERY_S = 0.05
MOST_STILLBORN = 3
"""Workers that end before they begin a case, until it is plain that none will come up."""


@dataclass
class _Held:
    """A task in the hands of a worker."""

    task: Task
    follower: Follower
    begun: bool = False
    started: bool = False


class _Worker:
    """One process."""

    def __init__(self, number: int, orders: Orders) -> None:
        executable = python_executable()
        if executable is None:
            raise FlareError("No worker can be started within this program; use the command flareseg in a terminal.")
        own: dict[str, Any] = {}
        if sys.platform == "win32":
            own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        words = [executable, "-X", f"utf8={sys.flags.utf8_mode}", "-c", BOOT, *sys.path]
        try:
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **own)
        except OSError as error:
            raise FlareError(f"No worker can be started: {error.strerror or error}.") from None
        self.number, self.tasks, self.has_begun, self.ended = number, dict[int, _Held](), False, False
        self._lock = threading.Lock()
        self.say(orders)

    def say(self, message: Any) -> None:
        assert self.process.stdin
        with self._lock, suppress(OSError):  # one that has died is noticed by whoever listens to it
            send(self.process.stdin, message)

    def kill(self) -> None:
        kill(self.process)
        with suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()


class Crew:
    """The workers of a plan.

    Args:
        request: what the user asked for.
        plan: the workers.
        cancelled: asked now and then.
        clean_up: removes what dead processes have left where results go.
    """

    def __init__(
        self,
        request: SegmentRequest,
        plan: WorkerPlan,
        cancelled: Callable[[], bool],
        clean_up: Callable[[], None],
    ) -> None:
        self._request, self._plan, self._cancelled, self._clean_up = request, plan, cancelled, clean_up
        self._workers: list[_Worker] = []
        self._again: list[Task] = []
        self._suspects: set[str] = set()
        self._numbers = count(1)
        self._stillborn = 0
        self._closing = False
        self._error: BaseException | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers. Nothing of them remains."""
        self._closing = True
        had_tasks = any(worker.tasks for worker in self._workers)
        for worker in self._workers:
            worker.kill()
        if had_tasks:
            self._clean_up()

    def run(self, feed: CaseQueue, follow: Callable[[Task], Follower]) -> None:
        """Have all tasks of `feed` done.

        Raises:
            Cancelled: when the user asked to stop.
            FlareError: when no worker can be had.
        """
        self._feed, self._follow = feed, follow
        for number in range(len(self._plan.options)):
            self._start(number)
        while self._workers and self._error is None:
            if self._cancelled():
                raise Cancelled
            for worker in [one for one in self._workers if one.ended]:
                self._bury(worker)
            time.sleep(LOOK_EVERY_S)
        if self._error is not None:
            raise self._error

    def _start(self, number: int) -> None:
        request = replace(self._request, options=self._plan.options[number])
        # In this thread, and not in one for each worker: Linux ends them with the thread that started them.
        worker = _Worker(number, Orders(request, self._plan.cores[number]))
        self._workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True, name="flareseg crew").start()

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout
        try:
            while (call := receive(worker.process.stdout)) is not None and not self._closing:
                self._hear(worker, call)
        except BaseException as error:
            self._error = self._error or error
        worker.ended = True

    def _hear(self, worker: _Worker, call: Call) -> None:
        if call.method == NEXT:
            worker.say(Reply(0, NEXT, self._hand_out(worker)))
            return
        held = worker.tasks[call.number]
        if call.method == "begun":
            held.begun = worker.has_begun = True
            return
        held.started = held.started or call.method == "started"
        error = self._tell(held, call)
        if call.waits:
            worker.say(Reply(call.number, call.method, error=error))
        if call.method in ("done", "failed", "left"):
            with self._lock:
                del worker.tasks[call.number]
            if call.method == "failed" and call.arguments[1]:
                self._feed.stop()

    @staticmethod
    def _tell(held: _Held, call: Call) -> Exception | None:
        """Pass on what a worker said; what goes wrong is for the worker, if it waits, or costs the case."""
        try:
            getattr(held.follower, call.method)(*call.arguments)
        except Exception as error:
            if call.waits:
                return error
            if call.method != "done" or not isinstance(error, FlareError):
                raise
            held.follower.failed(reported(error, held.task.case.source), False)
        return None

    def _hand_out(self, worker: _Worker) -> Given | Later | None:
        with self._lock:
            task = self._task_for(worker)
            if task is None:
                others = any(one.tasks for one in self._workers if one is not worker)
                return None if self._feed.over and not self._again and not others else Later()
            number = next(self._numbers)
            worker.tasks[number] = _Held(task, self._follow(task))
        return Given(number, task)

    def _task_for(self, worker: _Worker) -> Task | None:
        """The next task; a case that may have ended a worker gets one for itself, so that no other is blamed for it."""
        if any(held.task.case.name in self._suspects for held in worker.tasks.values()):
            return None
        for task in self._again:
            if not worker.tasks or task.case.name not in self._suspects:
                self._again.remove(task)
                return task
        return self._feed.poll()

    def _bury(self, worker: _Worker) -> None:
        """See what a worker that has ended leaves undone, and replace it if that was no proper end."""
        with self._lock:
            self._workers.remove(worker)
            tasks = list(worker.tasks.values())
            for held in tasks:
                self._give_again(held)
        worker.kill()
        if worker.process.returncode == 0 and not tasks:
            return
        self._clean_up()
        if not worker.has_begun:
            self._stillborn += 1
            if self._stillborn >= MOST_STILLBORN:
                raise FlareError(
                    f"The workers end as soon as they start (status {worker.process.returncode}); "
                    "try without --workers, which tells more."
                )
        if self._again or not self._feed.over:
            self._start(worker.number)

    def _give_again(self, held: _Held) -> None:
        name = held.task.case.name
        if held.begun and name in self._suspects:
            text = "ended its worker twice, as the system does where memory runs out; take fewer --workers."
            held.follower.failed(f"'{held.task.case.source}' {text}", False)
            return
        if held.begun:
            self._suspects.add(name)
        # What of its files is there already is of the worker.
        self._again.append(replace(held.task, replace=held.task.replace or held.started))
