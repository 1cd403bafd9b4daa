"""The cases of a run as they come to be worked on: decided, claimed, and left to other runs where these were first."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flareseg.cases.find import Case
from flareseg.cases.outputs import Outputs
from flareseg.cases.resume import Decision, Log
from flareseg.commands.task import Task
from flareseg.errors import Cancelled, InputError, OutputError
from flareseg.system.failures import reported
from flareseg.text import shown
from flareseg.volume import Volume

NAP_S = 0.2
ASK_AGAIN_S = 1.0
"""After so long a case that another run works on is looked at again."""


@dataclass(frozen=True)
class Ways:
    """How a queue deals with cases.

    Attributes:
        shares: leave cases to other runs in the folder; otherwise they are errors.
        measured: every case is to be measured.
        read: a CT, for results that no manifest tells of.
        note: gets a sentence that belongs to no case at work.
        skipped: hears of each case that is left out, with the reason.
        cancelled: asked now and then.
    """

    shares: bool
    measured: bool
    read: Callable[[Case], Volume]
    note: Callable[[str], None]
    skipped: Callable[[Case, Decision], None]
    cancelled: Callable[[], bool]


class CaseQueue:
    """Gives each case once; may be asked by several threads.

    Args:
        cases: those to work on, in order. Where other runs are at work it begins somewhere else in that order.
        log: decides, and claims.
        outputs: where their files go.
        ways: see there.
    """

    def __init__(self, cases: Sequence[Case], log: Log, outputs: Outputs, ways: Ways) -> None:
        self._log, self._outputs, self._ways = log, outputs, ways
        begin = random.randrange(len(cases)) if len(cases) > 1 and ways.shares and log.others_live() else 0
        self._cases: Iterator[Case] = iter([*cases[begin:], *cases[:begin]])
        self._through = False
        self._elsewhere: deque[tuple[float, Case]] = deque()
        self._ahead: deque[Task] = deque()
        self._told_of_waiting = False
        self._lock = threading.RLock()

    @property
    def over(self) -> bool:
        """Whether no more tasks will come."""
        return self._through and not self._elsewhere and not self._ahead

    def stop(self) -> None:
        """Give no more tasks."""
        with self._lock:
            self._cases, self._through = iter(()), True
            self._elsewhere.clear()
            self._ahead.clear()

    def next(self) -> Task | None:
        """The next task, also if other runs have to end first; None when there is no more. Raises as `poll`."""
        while (task := self.poll()) is None and not self.over:
            self._tell_of_waiting()
            time.sleep(NAP_S)
        return task

    def following(self) -> Task | None:
        """What `next` will give, if there is anything at hand. Raises as `poll`."""
        with self._lock:
            if not self._ahead and (task := self._found()):
                self._ahead.append(task)
            return self._ahead[0] if self._ahead else None

    def poll(self) -> Task | None:
        """The next task, if there is one at hand.

        Raises:
            Cancelled: when the user asked to stop.
        """
        with self._lock:
            return self._ahead.popleft() if self._ahead else self._found()

    def _found(self) -> Task | None:
        while case := self._next_case():
            if self._ways.cancelled():
                raise Cancelled
            if task := self._task(case):
                return task
        if self._ways.cancelled():
            raise Cancelled
        return None

    def _next_case(self) -> Case | None:
        if (case := next(self._cases, None)) is not None:
            return case
        self._through = True
        if self._elsewhere and self._elsewhere[0][0] < time.monotonic():
            return self._elsewhere.popleft()[1]
        return None

    def _task(self, case: Case) -> Task | None:
        """What is to be done of a case now; None if nothing."""
        decision = self._decide(case)
        if decision.skip:
            self._ways.skipped(case, decision)
            return None
        if decision.problem or case.problem:
            return self._as_task(case, decision)
        try:
            holder = self._log.claim(case)
        except OutputError as error:
            return self._as_task(case, Decision(problem=error))
        if holder and not self._ways.shares:
            advice = "wait for its end, or share the work with it by --skip-existing"
            text = f"'{shown(case.outputs[0])}' is being made by {holder}; {advice}."
            return self._as_task(case, Decision(problem=OutputError(text)))
        if holder:
            self._elsewhere.append((time.monotonic() + ASK_AGAIN_S, case))
            return None
        decision = self._decide(case)  # another run may have done it just before it was ours
        if decision.skip:
            self._log.release(case)
            self._ways.skipped(case, decision)
            return None
        self._log.reads(case)
        return self._as_task(case, decision)

    def _decide(self, case: Case) -> Decision:
        try:
            return self._log.decide(case, self._outputs.of(case), self._ways.read)
        except Cancelled:
            raise
        except Exception as error:
            return Decision(problem=InputError(reported(error, case.source)))

    def _as_task(self, case: Case, decision: Decision) -> Task:
        return Task(
            case,
            tuple(self._outputs.of(case)),
            self._outputs.dicom(case),
            self._outputs.report(case),
            self._outputs.cohort,
            self._outputs.preview(case),
            decision.replace,
            decision.message,
            decision.problem,
            self._ways.measured,
        )

    def _tell_of_waiting(self) -> None:
        with self._lock:
            if self._told_of_waiting or not self._elsewhere:
                return
            self._told_of_waiting = True
            count = len(self._elsewhere)
        what = "1 case is" if count == 1 else f"{count} cases are"
        self._ways.note(f"{what} at work in other runs; waiting for these to be done, or given up.")
