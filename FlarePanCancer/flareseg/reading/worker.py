"""The process that reads: takes requests from standard input, one after the other, until that ends.

Neither torch nor OpenVINO is loaded here, so that it starts in some tenths of a second.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import IO, Any

from flareseg.errors import FlareError, InputError
from flareseg.reading.limits import input_bytes
from flareseg.reading.messages import Began, Done, Failed, Message, Ready, Request
from flareseg.reading.shared import Sender
from flareseg.system.children import end_with_parent, own_streams, receive, send
from flareseg.system.failures import reported
from flareseg.volume import Volume

Read = Callable[[Request], Volume]


def read(request: Request) -> Volume:
    """As `read_volume`."""
    from flareseg.io.files import read_volume

    return read_volume(request.source, force=request.force, series=request.series, foreign_files=request.foreign_files)


def main(link: int, read: Read = read) -> None:
    """Serve until the other side has gone.

    Args:
        link: descriptor of the socket for shared memory; -1 where there is none.
        read: tests pass their own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the command, which ends us
    # If memory runs out, the system should kill this process rather than the one with the results.
    end_with_parent(badness=500)
    requests, answers = own_streams()
    sender = Sender(socket.socket(fileno=link) if link >= 0 else None)
    from flareseg.io import files  # noqa: F401  (what takes time to load, before the first request)

    waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    send(answers, Ready())
    while isinstance(request := waiting.get(), Request):
        send(answers, _answer(request, read, sender, answers))


def _answer(request: Request, read: Read, sender: Sender, answers: IO[bytes]) -> Message:
    try:
        size = input_bytes(request.source)
        began = Began(request.limits.seconds(size), request.limits.memory(size))
        send(answers, began)
        # Ends the process without Python's help, which a library that hangs may not give.
        faulthandler.dump_traceback_later(began.seconds + 1, exit=True, file=sys.__stderr__ or sys.stdout)
        _bound_memory(began.memory_bytes)
        volume = read(request)
        rest = {field.name: getattr(volume, field.name) for field in fields(volume) if field.name != "hu"}
        return Done(sender.put(volume.hu), rest)
    except FlareError as error:
        return Failed(type(error).__name__, str(error), traceback.format_exc())
    except BaseException as error:
        return Failed(InputError.__name__, reported(error, request.source), traceback.format_exc())
    finally:
        faulthandler.cancel_dump_traceback_later()
        _bound_memory(None)


def _listen(requests: IO[bytes], waiting: queue.SimpleQueue[Message | None]) -> None:
    while (request := receive(requests)) is not None:
        waiting.put(request)
    os._exit(0)  # the parent has ended, so nobody needs the result


def _bound_memory(extra_bytes: int | None) -> None:
    """Let allocations fail beyond `extra_bytes` more than there are now; None lifts the limit. Only Linux keeps to it;
    elsewhere the other side looks how large we are."""
    if sys.platform != "linux":
        return
    import resource

    import psutil

    kind: Any = resource.RLIMIT_DATA
    _, hard = resource.getrlimit(kind)
    limit = hard
    if extra_bytes is not None:
        limit = psutil.Process().memory_info().data + extra_bytes
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (limit, hard))
