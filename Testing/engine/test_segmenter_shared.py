"""One Segmenter for many callers: threads, other processes, and whatever they have set in torch."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch

from flareseg.errors import Cancelled, DeviceError, FlareError, ModelError, UsageError
from flareseg.inference import turns
from flareseg.inference.devices import openvino_installed
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.segmenter import Segmenter
from flareseg.volume import WorldBox

BACKENDS = [
    "torch",
    pytest.param("openvino", marks=pytest.mark.skipif(not openvino_installed(), reason="OpenVINO is not installed")),
]
FORK = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")


@pytest.fixture(scope="module", params=BACKENDS)
def a_segmenter(request, a_model):
    return Segmenter(a_model, Options(device="cpu", backend=request.param, threads=1))


@pytest.fixture(scope="module")
def in_torch(a_model):
    return Segmenter(a_model, Options(device="cpu", backend="torch", threads=1))


# threads


def test_threads_that_share_one_get_what_one_thread_gets(a_segmenter, a_ct):
    expected = a_segmenter.segment(a_ct).labels
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: a_segmenter.segment(a_ct).labels, range(8)))
    assert all(np.array_equal(labels, expected) for labels in results)


def test_who_waits_for_another_thread_can_be_cancelled(a_segmenter, a_ct):
    entered, leave = threading.Event(), threading.Event()

    class Holds:
        def stage(self, name, fraction):
            entered.set()
            leave.wait(60)

        def message(self, text):
            pass

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(a_segmenter.segment, a_ct, progress=Progress(Holds()))
        entered.wait(60)
        with pytest.raises(Cancelled):
            a_segmenter.segment(a_ct, progress=Progress(cancelled=lambda: True))
        leave.set()
        assert first.result().labels.shape == a_ct.hu.shape


def test_a_segmenter_may_be_used_while_it_tells_how_far_it_is(in_torch, a_ct):
    expected, inner = in_torch.segment(a_ct).labels, []

    class Asks:
        def stage(self, name, fraction):
            if name == "body" and not inner:
                inner.append(in_torch.segment(a_ct).labels)

        def message(self, text):
            pass

    outer = in_torch.segment(a_ct, progress=Progress(Asks())).labels
    assert np.array_equal(outer, expected) and np.array_equal(inner[0], expected)


# what the caller has set


def settings():
    return {
        "threads": torch.get_num_threads(),
        "between operations": torch.get_num_interop_threads(),
        "type": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "products": torch.get_float32_matmul_precision(),
        "variables": dict(os.environ),
    }


@contextmanager
def set_while(setter, value, before):
    setter(value)
    try:
        yield
    finally:
        setter(before)


CALLERS = {
    "inference mode": lambda: torch.inference_mode(),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "gradients": lambda: torch.enable_grad(),
    "double precision": lambda: set_while(torch.set_default_dtype, torch.float64, torch.float32),
    "half precision": lambda: set_while(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "another device": lambda: torch.device("meta"),
    "three threads": lambda: set_while(torch.set_num_threads, 3, torch.get_num_threads()),
    "deterministic": lambda: set_while(torch.use_deterministic_algorithms, True, False),
    "rough products": lambda: set_while(torch.set_float32_matmul_precision, "medium", "highest"),
}


@pytest.mark.parametrize("caller", [*CALLERS, "all at once"])
def test_what_the_caller_has_set_changes_nothing_and_stays(a_segmenter, a_model, a_ct, caller):
    expected = a_segmenter.segment(a_ct).labels
    options = a_segmenter._source[1]
    with ExitStack() as stack:
        for name in CALLERS if caller == "all at once" else [caller]:
            stack.enter_context(CALLERS[name]())
        before = settings()
        own = a_segmenter.segment(a_ct).labels
        assert settings() == before
        another = Segmenter(a_model, options)
        assert settings() == before
        assert np.array_equal(another.segment(a_ct).labels, expected)
        assert settings() == before
    assert np.array_equal(own, expected)


def test_what_the_caller_has_set_stays_after_an_error(in_torch, a_model, a_ct, tmp_path):
    with CALLERS["double precision"](), CALLERS["three threads"](), torch.inference_mode():
        before = settings()
        with pytest.raises(UsageError):
            in_torch.segment(a_ct, roi=WorldBox((9000, 9000, 9000), (9001, 9001, 9001)))
        with pytest.raises(Cancelled):
            in_torch.segment(a_ct, progress=Progress(cancelled=lambda: True))
        with pytest.raises(ModelError):
            Segmenter(tmp_path)
        with pytest.raises(DeviceError):
            Segmenter(a_model, Options(device="cuda:99"))
        assert settings() == before


def test_the_last_of_two_models_puts_the_callers_settings_back():
    shared = turns._SharedSettings()
    before = torch.get_num_threads()
    first, second = shared.held(before + 1), shared.held(before + 2)
    seen = []

    def other_thread():
        with second:
            seen.append(torch.get_num_threads())
            first.__exit__(None, None, None)
            seen.append(torch.get_default_dtype())

    with CALLERS["double precision"]():
        first.__enter__()
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
        assert torch.get_default_dtype() is torch.float64
    assert seen == [before + 2, torch.float32]
    threads = []
    fresh = threading.Thread(target=lambda: threads.append(torch.get_num_threads()))
    fresh.start()
    fresh.join()
    assert threads == [before]
    torch.set_num_threads(before)  # of this thread, in which nothing ended


def test_a_bound_on_a_gpus_memory_is_taken_back(monkeypatch):
    from flareseg.inference import memory

    shares = {0: 0.75, 1: 1.0}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", shares.get, raising=False)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, gpu: shares.update({gpu: share}))
    before = memory.gpu_memory_shares()
    shares[0] = 0.1
    memory.put_back_gpu_memory_shares(before)
    assert shares == {0: 0.75, 1: 1.0}
    shares[1] = 0.1
    memory.put_back_gpu_memory_shares([])  # torch had not looked for GPUs before
    assert shares == {0: 1.0, 1: 1.0}


# other processes


def labels_of(segmenter, ct):
    return segmenter.segment(ct).labels


def test_a_copy_through_pickle_loads_the_model_when_it_is_used(a_segmenter, a_ct):
    sent = pickle.dumps(a_segmenter)
    assert len(sent) < 2000
    copy = pickle.loads(sent)
    assert "_engine" not in vars(copy)
    assert np.array_equal(labels_of(copy, a_ct), labels_of(a_segmenter, a_ct))
    for name in ("structures", "model_name", "device_description"):
        assert getattr(pickle.loads(sent), name) == getattr(a_segmenter, name)
    with pytest.raises(AttributeError, match="no attribute 'segments'"):
        _ = copy.segments


def test_a_model_folder_is_found_from_another_folder(a_model, a_ct, tmp_path, monkeypatch):
    monkeypatch.chdir(a_model.parent)
    options = Options(device="cpu", backend="torch", threads=1)
    sent = pickle.dumps(Segmenter(a_model.name, options))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(sent).model_name == Segmenter(a_model, options).model_name


@pytest.mark.slow
def test_workers_that_are_started_anew_give_the_same(a_model, a_ct):
    segmenter = Segmenter(a_model, Options(device="cpu", threads=1))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        result = pool.submit(segmenter.segment, a_ct).result()
    assert np.array_equal(result.labels, labels_of(segmenter, a_ct))


def what_comes_of(work):
    try:
        return work()
    except FlareError as error:
        return type(error).__name__, str(error)


@FORK
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_is_told_what_to_do(a_segmenter, a_model, a_ct):
    told = ("DeviceError", turns.FORKED)
    work = {
        "use": lambda: labels_of(a_segmenter, a_ct),
        "load": lambda: Segmenter(a_model),
        "unpack": lambda: labels_of(pickle.loads(pickle.dumps(a_segmenter)), a_ct),
    }
    pipe = multiprocessing.Pipe(duplex=False)
    for name, action in work.items():
        pid = os.fork()
        if pid == 0:
            try:
                pipe[1].send((name, what_comes_of(action)))
            finally:
                os._exit(0)
        assert pipe[0].poll(60)
        assert pipe[0].recv() == (name, told)
        os.waitpid(pid, 0)
    assert labels_of(a_segmenter, a_ct).shape == a_ct.hu.shape


@pytest.mark.slow
@FORK
def test_a_process_forked_before_any_model_was_loaded_works(a_model):
    program = f"""
import os
from flareseg.options import Options
from flareseg.segmenter import Segmenter
options = Options(device="cpu", threads=2)
if os.fork() == 0:
    print(Segmenter({str(a_model)!r}, options).model_name, flush=True)
    os._exit(0)
os.wait()
print(Segmenter({str(a_model)!r}, options).model_name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "random 1.0\n" * 2, done.stderr


@pytest.mark.parametrize("error", [Cancelled(), DeviceError("no device"), UsageError("wrong")])
def test_errors_come_back_from_workers(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back)) == (type(error), str(error))
