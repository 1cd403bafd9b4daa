"""CTs one after the other, each read in the reading process, the next one while the present one is used."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flareseg import errors
from flareseg.errors import Cancelled, FlareError, InputError
from flareseg.io.opening import check_kind
from flareseg.progress import never
from flareseg.reading.limits import GIB, Limits, free_memory
from flareseg.reading.messages import Done, Failed, Request
from flareseg.reading.process import BOOT, ReadingProcess
from flareseg.reading.shared import take
from flareseg.volume import Volume

LOOK_EVERY_S = 0.05
ROOM_FOR_ANOTHER = (3 * GIB, 16)
"""A CT is read ahead where so much memory is free: a constant, and so many times the voxels of the present one."""


class CaseReader:
    """Reads CTs in a process of its own, which starts at the first one and is replaced when it dies.

    Example:
        with CaseReader() as reader:
            for path, following in zip(paths, [*paths[1:], None]):
                volume = reader.read(path)
                if following:
                    reader.ahead(following)

    Args:
        limits: time and memory of one input.
        debug: show what libraries print, and where errors come from.
        boot: what the process runs; tests pass their own.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        debug: bool = False,
        boot: str = BOOT,
    ) -> None:
        self._limits, self._debug, self._boot = limits or Limits(), debug, boot
        self._process: ReadingProcess | None = None
        self._asked: Request | None = None

    def __enter__(self) -> CaseReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process else None

    def ahead(
        self, source: Path, *, force: bool = False, series: str | None = None, foreign_files: bool = False
    ) -> None:
        """Start reading the CT that `read` will ask for next, unless one is being read. Errors are raised by `read`.

        Args:
            source, force, series, foreign_files: as in `read_volume`.
        """
        self._ask(Request(source, force, series, foreign_files, self._limits))

    def read(
        self,
        source: Path,
        *,
        force: bool = False,
        series: str | None = None,
        foreign_files: bool = False,
        cancelled: Callable[[], bool] = never,
    ) -> Volume:
        """The CT at `source`.

        Args:
            source, force, series, foreign_files: as in `read_volume`.
            cancelled: asked while it is waited for.

        Raises:
            InputError: when it cannot be read, whatever happened to the process.
            Cancelled: when `cancelled` said so.
            FlareError: as `read_volume`.
        """
        check_kind(source)
        request = Request(source, force, series, foreign_files, self._limits)
        if self._asked != request:
            if self._asked is not None:  # it reads what nobody wants any more
                self.close()
            self._ask(request)
            if self._asked is None:  # a process that has died since the last case, or none can be started
                self._ask(request)
        if self._asked is None or self._process is None:
            return self._read_here(request)
        answer = self._answer(self._process, cancelled)
        self._asked = None
        if isinstance(answer, Done):
            try:
                voxels: Any = take(answer.voxels, self._process.link)
            except (OSError, ValueError) as error:
                self.close()
                raise InputError(f"'{source}' was read, but its voxels cannot be handed over: {error}.") from None
            return Volume(hu=voxels, **answer.fields)
        if isinstance(answer, Failed):
            if self._debug:
                print(answer.trace, file=sys.stderr)
            raise _error(answer)
        process, self._process = self._process, None
        started, words = process.ready, _words(source, process)
        process.kill()
        if not started and not process.killed_for:
            return self._read_here(request)
        raise InputError(words)

    def _ask(self, request: Request) -> None:
        if self._asked is not None:
            return
        if self._process is None or not self._process.alive:
            self.close()
            try:
                self._process = ReadingProcess(self._boot, talkative=self._debug)
            except OSError:
                return
        try:
            self._process.ask(request)
        except OSError:
            self.close()
            return
        self._asked = request

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
        self._process, self._asked = None, None

    @staticmethod
    def _answer(process: ReadingProcess, cancelled: Callable[[], bool]) -> Any:
        while True:
            if cancelled():
                raise Cancelled
            try:
                return process.answers.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue

    @staticmethod
    def _read_here(request: Request) -> Volume:
        """Where no process can be had."""
        from flareseg.io.files import read_volume

        return read_volume(
            request.source, force=request.force, series=request.series, foreign_files=request.foreign_files
        )


def room_for_another(volume: Volume) -> bool:
    """Whether the machine has memory for a second CT while `volume` is computed."""
    constant, times = ROOM_FOR_ANOTHER
    return free_memory() > constant + times * volume.hu.nbytes


def _error(answer: Failed) -> FlareError:
    kind = getattr(errors, answer.kind, InputError)
    return kind(answer.text) if issubclass(kind, FlareError) and kind is not Cancelled else InputError(answer.text)


def _words(source: Path, process: ReadingProcess) -> str:
    """What happened to the process while it read `source`, and what to do."""
    limit = process.limit
    if process.killed_for == "time":
        within = f"within {limit.seconds:.0f} s" if limit else "in time"
        return f"'{source}' could not be read {within}; it is damaged, or its disk does not answer."
    if process.killed_for == "memory":
        much = f"more than {limit.memory_bytes / GIB:.1f} GB of" if limit else "too much"
        return f"Reading '{source}' takes {much} memory; it is damaged, or close other programs and try again."
    if process.killed_by_system:
        return f"Reading '{source}' was ended by the system, as it does where memory runs out; close other programs."
    return (
        f"'{source}' is damaged in a way that crashes the library which reads it ({process.how_it_ended()}); "
        "open it elsewhere, e.g. in 3D Slicer, and save it anew."
    )
