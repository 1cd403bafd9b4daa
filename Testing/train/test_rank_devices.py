"""Every stage that computes gives each rank its own GPU; the GPUs are stand-ins."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_fit import small_work
from small_run import small_run

from train.common.distributed import Rank, this_rank
from train.config import PseudoConfig
from train.stages import evaluate as evaluating
from train.stages import pseudolabel as labelling
from train.training import trainer

RANK = {"RANK": "11", "WORLD_SIZE": "16", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "8"}


@pytest.fixture
def rank(monkeypatch):
    """Rank 11 of 16, the fourth of a machine with eight GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    for name, value in RANK.items():
        monkeypatch.setenv(name, value)
    return this_rank()


@pytest.fixture
def asked(monkeypatch):
    """The devices that segmenters are made for; each of them fails."""
    devices = []

    def segmenter(_model, options):
        devices.append(options.device)
        raise InterruptedError

    for stage in (labelling, evaluating):
        monkeypatch.setattr(stage, "Segmenter", segmenter)
    return devices


def test_pseudo_labels_and_scores_are_made_on_the_own_gpu(tmp_path, rank, asked):
    config, paths, index = small_run(tmp_path, pseudo=PseudoConfig(device="auto"))
    with pytest.raises(InterruptedError):
        labelling.pseudolabel(config, paths, index, Rank(1, 2))
    work = evaluating.Evaluation(config, paths, index, rank)
    with work, pytest.raises(InterruptedError):
        work.score(work.cases)
    assert asked == ["cuda:3", "cuda:3"]
    with pytest.raises(InterruptedError):
        labelling.pseudolabel(replace(config, pseudo=PseudoConfig(device="cuda:5")), paths, index, Rank(1, 2))
    assert asked[2:] == ["cuda:5"]


def test_fits_are_trained_on_the_own_gpu_by_all_ranks(tmp_path, rank, monkeypatch):
    made = {}
    monkeypatch.setattr(trainer.L, "Trainer", lambda **options: made.update(options))
    monkeypatch.setattr(trainer, "precision_of", lambda wanted, cuda: wanted)
    monkeypatch.setattr(trainer, "TensorBoardLogger", lambda *_, **__: None)
    trainer._trainer(small_work(tmp_path / "fit"), rank)
    assert (made["accelerator"], made["devices"], made["num_nodes"]) == ("gpu", [3], 16)
    assert made["strategy"].process_group_backend == "nccl"
    cluster = made["strategy"].cluster_environment
    assert (cluster.global_rank(), cluster.world_size(), cluster.local_rank()) == (11, 16, 0)


@pytest.mark.parametrize(
    ("environment", "address", "port"),
    [
        ({"MASTER_ADDR": "node7", "MASTER_PORT": "29500"}, "node7", 29500),
        ({"SLURM_STEP_NODELIST": "gpu[12-15]", "SLURM_JOB_ID": "1234567"}, "gpu12", 19567),
        ({"SLURM_NODELIST": "a3,b4", "SLURM_JOB_ID": "99"}, "a3", 15099),
    ],
)
def test_ranks_meet_where_torchrun_says_or_at_the_first_machine_of_the_job(monkeypatch, environment, address, port):
    for name in ("MASTER_ADDR", "MASTER_PORT", "SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cluster = trainer.OneDeviceEach(Rank(0, 2))
    assert (cluster.main_address, cluster.main_port) == (address, port)


def test_a_lost_rank_and_a_gpu_that_two_have_are_told_in_one_line(tmp_path):
    job = SimpleNamespace(folder=tmp_path / "final")
    lost = RuntimeError("[../gloo/pair.cc:598] Connection closed by peer [10.0.0.7]:41")
    assert str(trainer._explained(lost, job)) == (
        "Another process that trains the fit 'final' ended or was lost; see its own message, then start again: "
        "training resumes from the last epoch."
    )
    twice = RuntimeError("Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000")
    assert "start as many as there are GPUs" in str(trainer._explained(twice, job))
