"""Checkpoints of nnU-Net are read without running anything, and refused in one line."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from nnunet_models import CHECKPOINT, INTENSITIES, LABELS, OLD_PLANS, copy_of_trained, edit, refusal

from flareseg.errors import ModelError
from flareseg.interop.import_model import import_model
from flareseg.interop.nnunet import model_folder as nnunet_folder
from flareseg.interop.nnunet.checkpoint import read_checkpoint
from flareseg.interop.nnunet.importer import read_nnunet
from flareseg.interop.nnunet.labels import plan_labels
from flareseg.interop.nnunet.plans import plan_of
from flareseg.system import zip_bombs


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return copy_of_trained(tmp_path)


# Checkpoints


class Hostile:
    """Runs a command when it is unpickled by what trusts it."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> Any:
        return os.system, (self._command,)


def test_a_hostile_checkpoint_is_refused_and_does_nothing(trained: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    torch.save({"network_weights": {}, "trainer_name": Hostile(f"touch {proof}")}, trained / CHECKPOINT)
    text = refusal(trained)
    assert "system" in text and "could be a program" in text
    with (trained / CHECKPOINT).open("rb") as file, zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        pickle.loads(archive.read(name))  # it would have run
    assert proof.exists()


def test_numpys_scalars_in_a_training_log_are_read_as_nothing(trained: Path) -> None:
    data = torch.load(trained / CHECKPOINT, weights_only=False)
    assert any(isinstance(value, np.floating) for values in data["logging"].values() for value in values)
    checkpoint = read_checkpoint(trained / CHECKPOINT)
    assert (checkpoint.configuration, checkpoint.trainer) == ("3d_fullres", "nnUNetTrainer")


def test_numpys_functions_beyond_scalars_are_not_called(trained: Path) -> None:
    torch.save({"network_weights": {}, "x": np.random.default_rng(0)}, trained / CHECKPOINT)
    assert "could be a program" in refusal(trained)


def test_old_and_foreign_formats_and_scripts_are_refused_unread(trained: Path) -> None:
    file = trained / CHECKPOINT
    data = torch.load(file, weights_only=False)
    torch.save(data, file, _use_new_zipfile_serialization=False)
    assert "no checkpoint of a recent torch" in refusal(trained)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    assert "as torch.save writes it" in refusal(trained)
    torch.jit.script(torch.nn.Identity()).save(str(file))
    assert "as torch.save writes it" in refusal(trained)
    file.write_bytes(b"")
    assert refusal(trained)


def test_what_is_no_checkpoint_of_nnunet_is_said_to_be_none(trained: Path) -> None:
    for data in (
        {"state_dict": {}},
        [1, 2],
        {"network_weights": 3, "trainer_name": "x", "init_args": {"configuration": "y"}},
    ):
        torch.save(data, trained / CHECKPOINT)
        assert "no checkpoint of nnU-Net v2" in refusal(trained)


def test_weights_of_another_network_are_refused_by_name(trained: Path) -> None:
    original = torch.load(trained / CHECKPOINT, weights_only=False)

    def changed(change: Callable[[dict[str, Any]], Any]) -> str:
        data = copy.deepcopy(original)
        change(data["network_weights"])
        torch.save(data, trained / CHECKPOINT)
        return refusal(trained)

    key = "encoder.stages.0.0.convs.0.conv.weight"
    assert f"lacks '{key}'" in changed(lambda weights: weights.pop(key))
    assert "holds 'more'" in changed(lambda weights: weights.update(more=torch.zeros(1)))
    running = "encoder.stages.0.0.convs.0.norm.running_mean"
    assert f"holds '{running}'" in changed(lambda weights: weights.update({running: torch.zeros(4)}))
    assert "no plain tensor" in changed(lambda weights: weights.update({key: torch.zeros(4, dtype=torch.int8)}))
    assert "no plain tensor" in changed(lambda weights: weights.update({key: torch.zeros(4, device="meta")}))
    one_for_many = torch.zeros(1).expand(10**6, 10**6)
    assert "has the shape (1000000, 1000000)" in changed(lambda weights: weights.update({key: one_for_many}))


def test_numbers_of_plans_beyond_every_measure_are_refused_in_one_line(trained: Path, tmp_path: Path) -> None:
    original = trained / "plans.json"
    text = original.read_text(encoding="utf-8")
    nested = '{"a": ' * 100_000

    def changed(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> str:
        original.write_text(text, encoding="utf-8")
        edit(original, lambda plans: change(plans["configurations"]["3d_fullres"], plans))
        return refusal(trained)

    for value in (float("inf"), float("nan"), 10**400, "abc", [], {}, None, "a\nb"):
        assert changed(lambda chosen, plans, value=value: chosen.update(spacing=[value] * 3))
        assert changed(lambda chosen, plans, value=value: chosen.update(patch_size=[value] * 3))
        assert changed(lambda chosen, plans, value=value: chosen["architecture"]["arch_kwargs"].update(n_stages=value))
        assert changed(lambda chosen, plans, value=value: plans.update(transpose_forward=[value] * 3))
        assert changed(lambda chosen, plans, value=value: plans[INTENSITIES]["0"].update(mean=value))
    assert "memory" in changed(lambda chosen, plans: chosen.update(patch_size=[2048, 2048, 2048]))
    original.write_text(text.replace("{", nested, 1), encoding="utf-8")
    assert "damaged" in refusal(trained)


def test_old_plans_of_a_million_stages_are_refused_before_they_are_counted() -> None:
    plans = copy.deepcopy(OLD_PLANS)
    for chosen in plans["configurations"].values():
        chosen["n_conv_per_stage_encoder"] = [2] * 10**6
    with pytest.raises(ModelError, match="1000000 stages"):
        plan_of(plans, next(iter(plans["configurations"])), LABELS, ())


def test_labels_without_a_finite_number_are_refused() -> None:
    for value in (float("inf"), float("nan"), 10**4000):
        with pytest.raises(ModelError) as caught:
            plan_labels({"background": 0, "liver": value})
        assert len(str(caught.value)) < 400


def test_axes_of_any_kind_in_a_checkpoint_are_refused_in_words(trained: Path) -> None:
    data = torch.load(trained / CHECKPOINT, weights_only=False)
    for axes in ([[0]], [{}], [7], ["0"]):
        torch.save(data | {"inference_allowed_mirroring_axes": axes}, trained / CHECKPOINT)
        assert "no checkpoint of nnU-Net v2" in refusal(trained)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_devices_and_pipes_are_no_models(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "plans.json").symlink_to("/dev/zero")
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path / "plans.json"):
        with pytest.raises(ModelError, match=r"is a (device|named pipe), not a file"):
            import_model(path)


def test_a_folder_of_very_many_files_is_not_searched_to_its_end(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnunet_folder, "MOST_MEMBERS", 3)
    assert "too much to be a model" in refusal(trained)


def test_a_checkpoint_that_unpacks_to_a_thousand_times_its_size_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_bombs, "LARGE_BYTES", 1000)
    path = tmp_path / "zeros.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in (*trained.glob("*.json"), trained / CHECKPOINT):
            data = bytes(10**6) if file.suffix == ".pth" else file.read_bytes()
            packed.writestr(file.relative_to(trained).as_posix(), data)
    assert "more than any network needs" in refusal(path)


def test_weights_of_a_compiled_or_distributed_network_are_recognised(trained: Path) -> None:
    expected = read_nnunet(trained)
    data = torch.load(trained / CHECKPOINT, weights_only=False)
    data["network_weights"] = {f"module._orig_mod.{k}": v for k, v in data["network_weights"].items()}
    torch.save(data, trained / CHECKPOINT)
    found = read_nnunet(trained)
    assert all(torch.equal(found.nets[0][name], value) for name, value in expected.nets[0].items())
