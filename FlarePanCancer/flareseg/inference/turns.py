"""What callers of a library may rely on: threads take turns, torch stays as it was, a forked process gets an error."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import torch

from flareseg.errors import Cancelled, DeviceError
from flareseg.inference.devices import usable_cores
from flareseg.inference.memory import bound_gpu_memory, gpu_memory_shares, put_back_gpu_memory_shares
from flareseg.progress import never

FORKED = (
    "This process was forked off one in which a model was loaded, and the model's threads did not come along; "
    "start worker processes with 'spawn' or 'forkserver', or load a model only in the workers."
)
LOOKS_EVERY_S = 0.1
"""How soon one who waits for its turn sees that it is cancelled."""
_loaded_in: list[int] = []
"""The process that loaded a model first."""


class Turns:
    """Of one model: one thread at a time uses it.

    Args:
        threads: how many CPU threads torch may use meanwhile; None takes every core this process may use.
        gpu_memory_gib: how much of a GPU's memory it may use meanwhile.

    Attributes:
        device: what the model runs on, once that is known.
    """

    def __init__(self, threads: int | None, gpu_memory_gib: float) -> None:
        self.device = torch.device("cpu")
        self._threads, self._gpu_memory_gib = threads, gpu_memory_gib
        self._lock = threading.RLock()

    @contextmanager
    def turn(self, cancelled: Callable[[], bool] = never) -> Iterator[None]:
        """Wait until no other thread uses the model; then torch is as a model needs it, until the block ends.

        Raises:
            Cancelled: when `cancelled` says so while this waits.
            DeviceError: in a process that was forked off one in which a model was loaded.
        """
        check_not_forked()
        while not self._lock.acquire(timeout=LOOKS_EVERY_S):
            if cancelled():
                raise Cancelled
        try:
            with _shared.held(self._threads or usable_cores()), _of_this_thread():
                if self.device.type == "cuda":
                    bound_gpu_memory(self.device, self._gpu_memory_gib)
                yield
        finally:
            self._lock.release()


def check_not_forked() -> None:
    """See that this process did not inherit a loaded model.

    Threads are not copied when a process is forked, and OpenVINO, OpenMP and CUDA would wait for theirs for ever.

    Raises:
        DeviceError: when it did.
    """
    if not _loaded_in:
        _loaded_in.append(os.getpid())
    if _loaded_in[0] != os.getpid():
        raise DeviceError(FORKED)


class _SharedSettings:
    """torch's settings of the whole process, changed by the first of several models and put back by the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._of_thread = threading.local()
        self._dtype = torch.float32
        self._precision: str | None = None
        self._gpu_shares: list[float] = []
        self._threads_before = self._threads_now = 1

    @contextmanager
    def held(self, threads: int) -> Iterator[None]:
        with self._lock:
            own = torch.get_num_threads()
            if self._users == 0:
                self._keep(own)
            elif own == self._threads_now and not self._depth:  # of a new thread, which has it from another model's
                own = self._threads_before
            self._users += 1
            self._of_thread.depth = self._depth + 1
            self._threads_now = threads
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._of_thread.depth -= 1
                torch.set_num_threads(own)
                if self._users == 0:
                    self._put_back()

    @property
    def _depth(self) -> int:
        """How many models this thread is using: one may be used while another shows its preview."""
        return getattr(self._of_thread, "depth", 0)

    def _keep(self, threads: int) -> None:
        self._threads_before = threads
        self._dtype = torch.get_default_dtype()
        self._gpu_shares = gpu_memory_shares()
        torch.set_default_dtype(torch.float32)
        self._precision = None
        # A newer torch refuses to tell where its caller has used the newer names of this setting.
        with suppress(RuntimeError):
            precision = torch.get_float32_matmul_precision()
            if precision != "highest":
                torch.set_float32_matmul_precision("highest")
                self._precision = precision

    def _put_back(self) -> None:
        torch.set_default_dtype(self._dtype)
        if self._precision is not None:
            torch.set_float32_matmul_precision(self._precision)
        put_back_gpu_memory_shares(self._gpu_shares)


_shared = _SharedSettings()


@contextmanager
def _of_this_thread() -> Iterator[None]:
    """No gradients, no inference mode (whose results nobody may change in place), no autocast, the CPU as the default
    device: whatever the caller is in the middle of."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in ("cpu", "cuda", "mps"):
            with suppress(RuntimeError):  # an older torch does not know every kind
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield
