"""The loop learns, keeps what it needs, and goes on after anything as if nothing had happened."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from small_fit import NET, SETTINGS, MemoryCase, run, small_case, small_work, task_of  # noqa: E402

from flareseg.errors import Cancelled, InputError, OutputError, UsageError  # noqa: E402
from flareseg.model.networks.registry import build_network, load_weights  # noqa: E402
from flareseg.volume import Geometry, Volume  # noqa: E402
from train.data.cache import load_cached, write_image  # noqa: E402
from train.training.checkpoints import DONE, LAST, LOG, averaged_weights  # noqa: E402
from train.training.module import initialize_from  # noqa: E402
from train.training.trainer import precision_of  # noqa: E402

ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def rows(folder):
    with (folder / LOG).open(newline="") as file:
        return list(csv.DictReader(file))


def story(folder):
    return [(row["epoch"], row["step"], row["loss"], row["score"]) for row in rows(folder)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A fit that nobody disturbed, with validation."""
    folder = tmp_path_factory.mktemp("fits") / "whole"
    settings = replace(SETTINGS, validate_every=2, validation_patches=3)
    run(small_work(folder, settings=settings, validation=[small_case(77)]))
    return folder


def test_the_loss_falls_and_the_score_rises(finished):
    losses = [float(row["loss"]) for row in rows(finished)]
    assert losses[-1] < 0.7 * losses[0]
    scores = [float(row["score"]) for row in rows(finished) if row["score"]]
    assert len(scores) == 4
    assert scores[-1] > 0.3


def test_a_finished_fit_says_what_it_did(finished):
    done = json.loads((finished / DONE).read_text())
    assert done["steps"] == 64
    assert done["cases"] == ["patient_0", "patient_1", "patient_2"]
    assert done["patches_per_second"] > 0
    assert (finished / "tensorboard").is_dir()


@pytest.mark.parametrize("which", ["average", "last", "best"])
def test_every_kind_of_weights_fits_the_network_of_the_inference(finished, which):
    weights = averaged_weights(finished, which)
    load_weights(build_network(NET.plan()), weights)
    assert all(value.dtype == torch.float32 for value in weights.values())


def test_the_average_differs_from_the_last_step_but_not_by_much(finished):
    average, last = averaged_weights(finished), averaged_weights(finished, "last")
    name = "input_block.conv1.conv.weight"
    difference = (average[name] - last[name]).norm() / last[name].norm()
    assert 0 < float(difference) < 0.5


def test_a_finished_fit_is_not_run_again(finished):
    before = (finished / LAST).stat().st_mtime_ns
    settings = replace(SETTINGS, validate_every=2, validation_patches=3)
    run(small_work(finished, settings=settings))
    assert (finished / LAST).stat().st_mtime_ns == before


def test_after_kill_9_the_same_steps_give_the_same_losses(finished, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, str(HERE / "small_fit.py")]
    process = subprocess.Popen([*command, str(killed)], env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / LAST).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / DONE).exists(), "the fit was faster than the kill"
    torch.set_num_threads(1)
    run(small_work(killed))
    run(small_work(whole))
    assert story(killed) == story(whole)
    first, second = averaged_weights(killed), averaged_weights(whole)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not list(killed.glob(".*"))


def test_reconstruction_learns_too_and_hands_its_layers_on(tmp_path):
    settings = replace(SETTINGS, task="reconstruct", epochs=4, foreground=0.0)
    cases = [replace(small_case(seed), values=None, known=np.eye(15, dtype=bool)[0]) for seed in range(3)]
    run(small_work(tmp_path / "pretrain", settings=settings, cases=cases))
    losses = [float(row["loss"]) for row in rows(tmp_path / "pretrain")]
    assert losses[-1] < 0.7 * losses[0]
    network = build_network(NET.plan(), 1)
    anew = initialize_from(network, averaged_weights(tmp_path / "pretrain"))
    assert anew == ["output_block.conv.conv.bias", "output_block.conv.conv.weight"]


def test_a_wider_net_begins_with_the_narrower_one_s_answer_and_learns_apart():
    torch.manual_seed(5)
    narrow, wide = (build_network(replace(NET, filters=filters).plan()) for filters in ([5, 7, 9], [8, 13, 24]))
    assert initialize_from(wide, narrow.state_dict()) == []
    image = torch.randn(1, 1, *NET.patch_zyx)
    narrow.eval(), wide.eval()
    with torch.no_grad():
        torch.testing.assert_close(wide(image), narrow(image), rtol=1e-3, atol=1e-4)
    kernels = wide.input_block.conv1.conv.weight
    assert torch.equal(kernels[5:], kernels[:3]), "an added channel repeats one that is there"
    wide(image).square().mean().backward()
    assert kernels.grad is not None
    directions = torch.nn.functional.normalize(kernels.grad.flatten(1), dim=1)
    assert ((directions[5:] * directions[:3]).sum(1).abs() < 0.999).all(), "repeated channels would stay alike"


def test_a_wider_net_for_other_structures_begins_its_output_anew():
    narrow = build_network(NET.plan())
    wide = build_network(replace(NET, filters=[8, 12, 16], segments=["liver"]).plan())
    assert initialize_from(wide, narrow.state_dict()) == [
        "output_block.conv.conv.bias",
        "output_block.conv.conv.weight",
    ]


def test_a_net_with_fewer_stages_begins_with_the_outer_ones_of_a_deeper_net():
    deep = build_network(replace(NET, filters=[4, 6, 8, 10]).plan())
    shallow = build_network(replace(NET, filters=[4, 6, 8]).plan())
    assert initialize_from(shallow, deep.state_dict()) == []
    pairs = [
        (shallow.input_block, deep.input_block),
        (shallow.downsamples[0], deep.downsamples[0]),
        (shallow.bottleneck, deep.downsamples[1]),
        (shallow.upsamples[0], deep.upsamples[1]),
        (shallow.upsamples[1], deep.upsamples[2]),
        (shallow.output_block, deep.output_block),
    ]
    for mine, its in pairs:
        for name, value in mine.state_dict().items():
            assert torch.equal(value, its.state_dict()[name]), name


@pytest.mark.parametrize(
    ("wanted", "cuda", "has_bf16", "taken"),
    [
        ("bf16-mixed", False, True, "bf16-mixed"),
        ("bf16-mixed", False, False, "32-true"),
        ("bf16-mixed", True, True, "bf16-mixed"),
        ("bf16-mixed", True, False, "16-mixed"),
        ("16-mixed", True, False, "16-mixed"),
        ("32-true", False, True, "32-true"),
    ],
)
def test_no_device_has_to_imitate_bf16(monkeypatch, wanted, cuda, has_bf16, taken):
    monkeypatch.setattr("train.training.trainer.cpu_multiplies_bf16", lambda: has_bf16 and not cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16 and cuda)
    assert precision_of(wanted, cuda=cuda) == taken


def test_weights_of_another_net_are_refused(tmp_path):
    other = build_network(replace(NET, filters=[5, 7, 9]).plan())
    with pytest.raises(UsageError, match="no layer"):
        initialize_from(build_network(NET.plan()), {name: value[..., :0] for name, value in other.state_dict().items()})


def test_a_folder_with_a_fit_of_another_plan_is_refused(finished):
    with pytest.raises(UsageError, match=r"filters was \[6, 8, 8\], is \[6, 8, 12\]\. .*give another folder"):
        run(small_work(finished, net=replace(NET, filters=[6, 8, 12])))


def test_a_checkpoint_of_another_plan_is_refused(finished, tmp_path):
    other = small_work(tmp_path / "other", net=replace(NET, filters=[6, 8, 12]))
    other.folder.mkdir()
    (other.folder / LAST).write_bytes((finished / LAST).read_bytes())
    with pytest.raises(UsageError, match="checkpoint of another plan"):
        run(other)


def test_a_damaged_checkpoint_is_named(finished, tmp_path):
    work = small_work(tmp_path / "damaged")
    work.folder.mkdir()
    (work.folder / LAST).write_bytes((finished / LAST).read_bytes()[:5000])
    with pytest.raises(InputError, match=r"last\.ckpt' is damaged"):
        run(work)
    with pytest.raises(InputError, match=r"last\.ckpt' is damaged"):
        averaged_weights(work.folder)


def test_a_loss_that_is_not_finite_stops_and_names_the_cases(tmp_path, monkeypatch):
    work = small_work(tmp_path / "nan", cases=[small_case(1)], shares=[1.0])
    task = task_of(work)
    taught = task.loss
    steps = iter(range(100))

    def loss(batch, generator):
        return taught(batch, generator) * (float("nan") if next(steps) == 11 else 1)

    monkeypatch.setattr(task, "loss", loss)
    from train.training.trainer import fit

    with pytest.raises(InputError, match=r"step 11 .*patient_1.*last good checkpoint"):
        fit(work, lambda: task)
    assert all(bool(torch.isfinite(value).all()) for value in averaged_weights(work.folder, "last").values())
    assert len(rows(work.folder)) == 1


def test_a_full_disk_leaves_the_checkpoint_of_the_epoch_before(tmp_path, monkeypatch):
    work = small_work(tmp_path / "full")
    import lightning as L

    save, calls = L.Trainer.save_checkpoint, []

    def full(self, path, *arguments, **options):
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(self, path, *arguments, **options)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", full)
    with pytest.raises(OutputError, match=r"No space left on device.*resumes from there"):
        run(work)
    assert not list(work.folder.glob(".*"))
    monkeypatch.undo()
    assert torch.load(work.folder / LAST, weights_only=True)["global_step"] == 16
    run(work)
    assert [row["step"] for row in rows(work.folder)] == [str(8 * epoch) for epoch in range(1, 9)]


def test_a_disk_that_fills_with_the_best_checkpoint_is_told_in_one_line(tmp_path, monkeypatch):
    save = torch.save

    def full(found, path, *arguments, **options):
        if "score" in found:
            Path(path).write_bytes(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 128 vs 0")
        save(found, path, *arguments, **options)

    monkeypatch.setattr(torch, "save", full)
    settings = replace(SETTINGS, epochs=3, steps_per_epoch=1, validate_every=2, validation_patches=1)
    work = small_work(tmp_path / "full", settings=settings, validation=[small_case(7)])
    words = r"best\.ckpt' cannot be written \(the disk may be full\); '.*last\.ckpt' of the epoch before is intact"
    with pytest.raises(OutputError, match=words):
        run(work)
    assert not list(work.folder.glob(".*"))
    monkeypatch.undo()
    run(work)
    assert [row["step"] for row in rows(work.folder)] == ["1", "2", "3"]
    assert averaged_weights(work.folder, "best")


def test_logs_that_cannot_be_written_are_told_in_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning.Trainer.fit", full)
    with pytest.raises(OutputError, match=r"fit' cannot be written \(No space left on device\); make room and"):
        run(small_work(tmp_path / "fit"))


@pytest.mark.parametrize("worker", [None, "one of those that load"])
def test_a_truncated_array_is_told_with_its_case(tmp_path, monkeypatch, worker):
    monkeypatch.setattr("train.augmentation.dataset.get_worker_info", lambda: worker)
    hu = np.full((20, 24, 28), -1000, np.int16)
    hu[2:-2, 2:-2, 2:-2] = np.random.default_rng(0).integers(0, 100, (16, 20, 24))
    folder = tmp_path / "mine_p7"
    write_image(folder, Volume(hu, Geometry(hu.shape, (3.0, 3.0, 3.0))), (3.0, 3.0, 3.0))
    array = folder / "hu.b2nd"
    array.write_bytes(array.read_bytes()[:-100])
    settings = replace(SETTINGS, task="reconstruct", foreground=0.0)
    with pytest.raises(InputError) as caught:
        run(small_work(tmp_path / "fit", settings=settings, cases=[load_cached(folder, None)], shares=[1.0]))
    assert str(caught.value) == (
        f"The cached array '{array}' of the case 'mine_p7' is damaged; remove '{folder}', then run 'prepare' again."
    )


@dataclass(frozen=True)
class Deadly(MemoryCase):
    """Kills the process that reads it, if that is one of those that load."""

    def hu(self, box):
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().hu(box)


def test_a_killed_loading_process_is_told_and_the_fit_goes_on_without_it(tmp_path):
    case = small_case(1)
    deadly = Deadly(case.name, case.array, case.values)
    work = small_work(tmp_path / "killed", settings=replace(SETTINGS, workers=1), cases=[deadly], shares=[1.0])
    with pytest.raises(InputError, match=r"loads patches for the fit 'killed' was killed.*resumes from the last epoch"):
        run(work)
    run(replace(work, settings=SETTINGS))
    assert (work.folder / DONE).exists()


def test_a_fit_that_runs_out_of_time_is_finished_and_has_annealed(tmp_path):
    settings = replace(SETTINGS, epochs=400, max_minutes=0.02)
    run(small_work(tmp_path / "short", settings=settings))
    found = rows(tmp_path / "short")
    assert 1 <= len(found) < 100
    assert (tmp_path / "short" / DONE).exists()


def test_without_cases_nothing_is_trained(tmp_path):
    with pytest.raises(InputError, match="no case to train on"):
        run(small_work(tmp_path / "none", cases=[], shares=[]))


def test_a_terminated_fit_does_not_pass_for_a_finished_one(tmp_path, monkeypatch):
    def terminated(*_, **__):
        raise SIGTERMException

    monkeypatch.setattr("lightning.Trainer.fit", terminated)
    with pytest.raises(Cancelled):
        run(small_work(tmp_path / "fit"))
