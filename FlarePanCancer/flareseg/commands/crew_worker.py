"""A worker process: does tasks that the command gives it, and says what becomes of them, until there are no more."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections import defaultdict
from typing import IO, Any

from flareseg.commands.crew_messages import NEXT, Call, Given, Later, Orders, Reply
from flareseg.commands.pipeline import Pipeline
from flareseg.commands.relay import Relay
from flareseg.commands.task import Task
from flareseg.progress import never
from flareseg.reading.reader import CaseReader
from flareseg.system.children import end_with_parent, own_streams, receive, send

NAP_S = 0.2


def main() -> None:
    """Serve until there is nothing more to do, or the other side has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the command, which ends us
    end_with_parent(badness=300)
    requests, answers = own_streams()
    orders = receive(requests)
    assert isinstance(orders, Orders)
    if orders.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, orders.cores)
    line = _Line(requests, answers)
    feed = _Feed(line)
    with CaseReader(debug=orders.request.debug) as reader:
        Pipeline(orders.request, reader, never).run(feed, feed.follower)
    line.end()


class _Line:
    """The line to the command; several threads may speak."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests, self._answers = requests, answers
        self._lock = threading.Lock()
        self._replies: defaultdict[tuple[int, str], queue.SimpleQueue[Reply]] = defaultdict(queue.SimpleQueue)
        threading.Thread(target=self._listen, daemon=True, name="flareseg line").start()

    def tell(self, call: Call) -> None:
        with self._lock:
            send(self._answers, call)

    def ask(self, call: Call) -> Reply:
        """Raises what the reply holds."""
        replies = self._replies[call.number, call.method]
        self.tell(call)
        reply = replies.get()
        if reply.error:
            raise reply.error
        return reply

    def end(self) -> None:
        with self._lock:
            self._answers.close()

    def _listen(self) -> None:
        while (reply := receive(self._requests)) is not None:
            self._replies[reply.number, reply.method].put(reply)
        from flareseg.io.atomic import discard_unfinished

        discard_unfinished()
        os._exit(0)  # the command has ended, so nobody needs the rest


class _Feed:
    """The tasks that the command gives."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._ahead: Given | None = None
        self._numbers: dict[int, int] = {}

    def next(self) -> Task | None:
        while isinstance(given := self._ahead or self._ask(), Later):
            time.sleep(NAP_S)
        self._ahead = None
        return self._known(given)

    def following(self) -> Task | None:
        if self._ahead is None:
            answer = self._ask()
            self._ahead = answer if isinstance(answer, Given) else None
        return self._ahead.task if self._ahead else None

    def follower(self, task: Task) -> _Follower:
        return _Follower(self._line, self._numbers.pop(id(task)))

    def _ask(self) -> Given | Later | None:
        return self._line.ask(Call(0, NEXT, waits=True)).value

    def _known(self, given: Given | None) -> Task | None:
        if given is None:
            return None
        self._numbers[id(given.task)] = given.number
        return given.task


class _Follower(Relay):
    """Passes on what becomes of a task to the command."""

    def __init__(self, line: _Line, number: int) -> None:
        self._line, self._number = line, number
        self.tell("begun")

    def tell(self, method: str, *arguments: Any) -> None:
        self._line.tell(Call(self._number, method, arguments))

    def started(self) -> None:
        self._line.ask(Call(self._number, "started", waits=True))
