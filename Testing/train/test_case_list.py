"""What loading processes get of the cases is shared with them, not copied, and is all there."""

import os
import sys
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_fit import NET, SETTINGS, small_case, small_work, task_of

from flareseg.volume import Geometry, Volume
from train.augmentation.dataset import PatchDataset, start_worker
from train.augmentation.pipeline import NOTHING
from train.common.distributed import Rank
from train.data.cache import load_cached, write_image, write_labels
from train.data.case_list import CaseList
from train.data.index import CLASSES
from train.training import trainer
from train.training.module import TrainingModule


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A case with two structures, one without labels, and one with a name that needs escapes."""
    folder = tmp_path_factory.mktemp("cache")
    small = small_case(3)
    found = []
    for name in ("p0", "bare", 'a "case"\n=1+1 Ä'):
        geometry = Geometry(small.array.shape, (3.0, 3.0, 3.0))
        write_image(folder / name, Volume(small.array, geometry), (3.0, 3.0, 3.0))
        if name != "bare":
            write_labels(folder / name, "truth", small.values, geometry, np.isin(np.arange(CLASSES), [0, 1, 3]))
        found.append(load_cached(folder / name, None if name == "bare" else "truth"))
    return found


def test_a_list_gives_back_the_cases_it_was_made_of(cases):
    made = CaseList(iter(cases))
    assert len(made) == 3
    for one, other in zip(made, cases, strict=True):
        arrays = ("known", "centres")
        assert {k: v for k, v in vars(one).items() if k not in arrays} == {
            k: v for k, v in vars(other).items() if k not in arrays
        }
        assert np.array_equal(one.known, other.known) and list(one.centres) == list(other.centres)
        assert all(np.array_equal(one.centres[value], other.centres[value]) for value in other.centres)
        box = (slice(2, 9), slice(0, 12), slice(5, 20))
        assert np.array_equal(one.hu(box), other.hu(box))
    assert made[-1].name == cases[-1].name and [case.name for case in made[1:]] == [case.name for case in cases[1:]]
    with pytest.raises(IndexError):
        made[3]
    assert list(CaseList([])) == []


def test_patches_are_those_of_a_plain_list(cases):
    first, second = (
        PatchDataset(
            some, [1.0] * 3, NET, NET.plan(), NOTHING, foreground=0.7, seed=1, length=12, finished=True
        )
        for some in (cases, CaseList(cases))
    )  # fmt: skip
    for number in range(12):
        assert first[number].name == second[number].name
        assert torch.equal(first[number].image, second[number].image)


def test_a_process_gets_a_handle_however_many_cases_there_are(cases):
    few, many = (len(bytes(ForkingPickler.dumps(CaseList(cases * count)))) for count in (1, 1000))
    assert many < few + 100 < 5000


def test_a_case_larger_than_any_ct_is_refused_rather_than_wrapped(cases):
    with pytest.raises(ValueError, match="65,536"):
        CaseList([replace(cases[0], centres={1: np.array([[0, 0, 70_000]])})])


def module_of(folder, **settings):
    work = small_work(folder, settings=replace(SETTINGS, **settings))
    return TrainingModule(task_of(work), work)


@pytest.mark.parametrize("cuda", [False, True])
def test_the_loader_of_a_training_starts_as_that_of_the_benchmark_and_pins_memory_for_a_gpu(
    tmp_path, monkeypatch, cuda
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr("train.training.module.use_patch_norms", lambda network: None)
    loader = trainer._loader(module_of(tmp_path, workers=2), Rank())
    assert loader.worker_init_fn is start_worker and loader.pin_memory is cuda
    assert loader.dataset.finished is not cuda  # with a GPU the workers only read


@pytest.mark.skipif(sys.platform != "linux", reason="others spawn worker processes")
def test_workers_are_forked_from_a_server_never_from_the_training(tmp_path):
    loader = trainer._loader(module_of(tmp_path, workers=1), Rank())
    batches = iter(loader)
    next(batches)
    [worker] = batches._workers
    parent = int(Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != os.getpid()
    assert Path(f"/proc/{parent}/cmdline").read_bytes().count(b"multiprocessing.forkserver")
