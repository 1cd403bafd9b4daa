"""nnU-Net's trained models are found in folders and zips, read without running anything, and refused in one line."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flareseg.cli import main
from flareseg.errors import FlareError, ModelError, UsageError
from flareseg.interop.import_model import import_model
from flareseg.interop.nnunet import model_folder as nnunet_folder
from flareseg.interop.nnunet.checkpoint import read_checkpoint
from flareseg.interop.nnunet.importer import Choice, read_nnunet
from flareseg.interop.nnunet.labels import plan_labels, structure_named
from flareseg.interop.nnunet.plans import network_of, plan_of
from flareseg.labels import by_name, structures
from flareseg.model import catalogue
from flareseg.model.bundle import load_bundle, read_description
from flareseg.model.catalogue import describe, list_models
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.structures import own_colour, structures_of
from flareseg.system import zip_bombs

RECORDED = Path(__file__).parent / "data" / "nnunet"
PLANS = json.loads((RECORDED / "anisotropic" / "model" / "plans.json").read_text(encoding="utf-8"))
OLD_PLANS = json.loads((RECORDED / "old" / "model" / "plans.json").read_text(encoding="utf-8"))
LABELS = {0: "background", 1: "liver"}
INTENSITIES = "foreground_intensity_properties_per_channel"
CHECKPOINT = Path("fold_0", "checkpoint_final.pth")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without models."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(catalogue, "EMBEDDED", tmp_path / "embedded")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A trained-model folder that a test may change."""
    folder = tmp_path / "Dataset023_Abdomen" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    shutil.copytree(RECORDED / "anisotropic" / "model", folder)
    return folder


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    change(data)
    file.write_text(json.dumps(data), encoding="utf-8")


def refusal(of: Path, choice: Choice | None = None, kind: type[FlareError] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        read_nnunet(of, choice)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


# What is imported


def test_an_imported_model_is_an_ordinary_one_with_fp32_weights_for_every_fold(trained: Path) -> None:
    entry = import_model(trained)
    assert (entry.name, entry.origin) == ("Abdomen-3d-fullres", "yours")
    bundle = load_bundle(entry.folder)
    assert bundle.plan.parity and bundle.plan.mirror_axes == (0, 1, 2) and bundle.plan.orientation == "stored"
    assert bundle.plan.spacing_zyx_mm == (4.0, 1.2, 1.2) and bundle.plan.patch_zyx == (8, 32, 32)
    assert bundle.plan.intensity.clip_hu == (-160.0, 240.0) and bundle.plan.resampling == "auto"
    assert len(bundle.ensemble) == 1 and not torch.equal(
        bundle.ensemble[0]["output_block.conv.conv.bias"], bundle.weights["output_block.conv.conv.bias"]
    )
    for net in (bundle.weights, *bundle.ensemble):
        assert {name: tuple(value.shape) for name, value in net.items()} == parameter_shapes(bundle.plan)
        assert {value.dtype for value in net.values()} == {torch.float32}
    text = describe(entry.name)
    assert "ensemble    of 2 networks" in text and "voxel for voxel" in text and "nnUNetTrainer" in text


def test_labels_of_flare_get_flares_numbers_whatever_they_are_called_there(trained: Path) -> None:
    found = structures_of(read_nnunet(trained).plan)
    assert [structure.name for structure in found] == ["tumour", "left_kidney", "right_kidney", "liver"]
    assert [structure.value for structure in found] == [14, 13, 2, 1]


def test_a_model_of_other_structures_keeps_its_names_and_numbers_and_gets_colours() -> None:
    found = structures_of(read_nnunet(RECORDED / "residual" / "model").plan)
    assert [(structure.value, structure.name) for structure in found] == [
        (1, "prostate"),
        (2, "urinary_bladder"),
        (3, "liver"),
    ]
    assert [structure.title for structure in found] == ["Prostate", "Urinary bladder", "Liver"]
    assert found[2].colour == by_name("liver").colour and found[2].type == by_name("liver").type


def test_colours_of_other_structures_are_all_different() -> None:
    colours = [own_colour(value) for value in range(1, 118)] + [structure.colour for structure in structures()]
    assert len(set(colours)) == len(colours)


def test_a_zip_of_one_model_or_of_a_results_folder_is_the_same_model(trained: Path, tmp_path: Path) -> None:
    expected = read_nnunet(trained)
    shutil.copytree(trained, trained.parent / "nnUNetTrainer__nnUNetPlans__2d")
    for root in (trained, trained.parent.parent):
        files = [file for file in root.rglob("*") if file.is_file() and "data" not in file.parts]
        path = tmp_path / f"{root.name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.relative_to(root))
        found = read_nnunet(path)
        assert found.plan == expected.plan and len(found.nets) == 2
        assert all(torch.equal(found.nets[1][name], value) for name, value in expected.nets[1].items())


def test_folds_and_checkpoints_can_be_chosen(trained: Path) -> None:
    both = read_nnunet(trained)
    second = read_nnunet(trained, Choice(folds=("1",)))
    assert len(second.nets) == 1
    assert all(torch.equal(second.nets[0][name], value) for name, value in both.nets[1].items())
    (trained / "fold_1" / "checkpoint_final.pth").rename(trained / "fold_1" / "checkpoint_best.pth")
    assert read_nnunet(trained).provenance["folds"] == "0", "a fold that was not finished is passed over, as by nnU-Net"
    assert read_nnunet(trained, Choice(folds=("1",), checkpoint="checkpoint_best.pth")).provenance["folds"] == "1"
    assert "no fold '7'" in refusal(trained, Choice(folds=("7",)), UsageError)
    assert "checkpoint_none.pth" in refusal(trained, Choice(checkpoint="checkpoint_none.pth"), UsageError)


def test_several_models_are_told_apart_by_configuration(trained: Path) -> None:
    shutil.copytree(trained, trained.with_name("nnUNetTrainer__nnUNetPlans__3d_lowres"))
    text = refusal(trained.parent, kind=UsageError)
    assert "3d_fullres" in text and "3d_lowres" in text and "--configuration" in text
    assert read_nnunet(trained.parent, Choice(configuration="3d_lowres")).plan == read_nnunet(trained).plan


def test_the_command_line_imports_and_takes_back_parity(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "import", str(trained), "--name", "mine", "--folds", "1", "--no-parity"]) == 0
    assert "flareseg segment CT --model mine" in capsys.readouterr().out
    [entry] = list_models()
    assert not read_description(entry.folder).plan.parity
    assert main(["models", "import", str(entry.folder), "--folds", "1"]) == 2
    assert "is no nnU-Net model" in capsys.readouterr().err


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


# Labels


@pytest.mark.parametrize(
    ("label", "structure"),
    [
        ("Liver", "liver"),
        ("left kidney", "left_kidney"),
        ("kidney_left", "left_kidney"),
        ("LK", "left_kidney"),
        ("L Kidney", "left_kidney"),
        ("kidneyRight", "right_kidney"),
        ("Rt. Kidney", "right_kidney"),
        ("IVC", "inferior_vena_cava"),
        ("postcava", "inferior_vena_cava"),
        ("inferior vena cava", "inferior_vena_cava"),
        ("RAG", "right_adrenal_gland"),
        ("adrenal_gland_left", "left_adrenal_gland"),
        ("left suprarenal gland", "left_adrenal_gland"),
        ("pancrease", "pancreas"),
        ("gall bladder", "gallbladder"),
        ("Gallbladder", "gallbladder"),
        ("oesophagus", "esophagus"),
        ("Aorta", "aorta"),
        ("Tumor", "tumour"),
        ("tumours", "tumour"),
        ("lesion", "tumour"),
        ("cancer", "tumour"),
        ("kidney", None),
        ("adrenal gland", None),
        ("liver tumour", None),
        ("liver vessels", None),
        ("portal_vein_and_splenic_vein", None),
        ("urinary bladder", None),
        ("prostate/uterus", None),
    ],
)
def test_synonyms_of_flares_structures_are_known_and_others_are_not(label: str, structure: str | None) -> None:
    assert structure_named(label) == structure


FLARE23 = (
    "background Liver Right-kidney Spleen Pancreas Aorta Inferior-vena-cava Right-adrenal-gland Left-adrenal-gland "
    "Gallbladder Esophagus Stomach Duodenum Left-kidney Tumor"
)


def test_flare23s_own_dataset_json_is_the_table_in_its_order() -> None:
    labels = {name.replace("-", " "): value for value, name in enumerate(FLARE23.split())}
    assert plan_labels(labels) == {0: "background", **{s.value: s.name for s in structures()}}
    first_version = {str(value): name for name, value in labels.items()}
    assert plan_labels(first_version) == plan_labels(labels)


def test_two_labels_of_one_meaning_stay_apart() -> None:
    assert plan_labels({"background": 0, "tumor": 1, "lesion": 2}) == {0: "background", 1: "tumor", 2: "lesion"}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"background": 0, "whole tumour": [1, 2], "core": 2}, "trained on regions ('whole tumour'"),
        ({"background": 0, "liver": 2}, "without gaps"),
        ({"background": 0}, "without gaps"),
        ({"background": 0, "liver": "one"}, "has no number"),
        ({"background": 0, "a\nb": 1}, "no proper name"),
        ({"liver": 0, "background": 1}, "several labels of one name"),
        ({"background": 0, **{str(n) + "x": n for n in range(1, 300)}}, "up to 255"),
        ([], "no table of labels"),
        (None, "no table of labels"),
    ],
)
def test_labels_that_cannot_be_one_label_a_voxel_are_refused(labels: Any, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        plan_labels(labels)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_label_in_a_list_of_its_own_is_no_region_and_ignore_is_no_structure() -> None:
    assert plan_labels({"background": 0, "liver": [1], "ignore": 2}) == LABELS


# Plans


def with_entry(plans: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Plans whose one configuration has other entries."""
    [name] = plans["configurations"]
    return plans | {"configurations": {name: plans["configurations"][name] | changes}}


def with_arguments(**changes: Any) -> dict[str, Any]:
    architecture = PLANS["configurations"]["3d_fullres"]["architecture"]
    return with_entry(PLANS, architecture=architecture | {"arch_kwargs": architecture["arch_kwargs"] | changes})


def planned(plans: dict[str, Any], configuration: str = "3d_fullres") -> str:
    with pytest.raises(ModelError) as caught:
        plan_of(plans, configuration, LABELS, ())
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_what_cannot_be_run_is_named(trained: Path) -> None:
    lowres = PLANS["configurations"]["3d_fullres"]
    cascade = PLANS | {
        "configurations": {
            "3d_lowres": lowres,
            "3d_cascade_fullres": {"inherits_from": "3d_lowres", "previous_stage": "3d_lowres"},
        }
    }
    assert "second step of a cascade" in planned(cascade, "3d_cascade_fullres")
    assert "2-D" in planned(with_entry(PLANS, patch_size=[256, 256]))
    assert "2 images at once" in planned(with_entry(PLANS, normalization_schemes=["CTNormalization"] * 2))
    assert "'RGBTo01Normalization'" in planned(with_entry(PLANS, normalization_schemes=["RGBTo01Normalization"]))
    assert "'MyPreprocessor'" in planned(with_entry(PLANS, preprocessor_name="MyPreprocessor"))
    assert "'no_resampling_hack'" in planned(with_entry(PLANS, resampling_fn_data="no_resampling_hack"))
    assert "'NaturalImage2DIO'" in planned(PLANS | {"image_reader_writer": "NaturalImage2DIO"})
    network = {"network_class_name": "my.nets.Primus", "arch_kwargs": {}}
    assert "is a 'Primus'; flareseg builds PlainConvUNet and ResidualEncoderUNet" in planned(
        with_entry(PLANS, architecture=network)
    )
    edit(trained / "dataset.json", lambda data: data.update(channel_names={"0": "CT", "1": "PET"}))
    assert "2 images at once (CT, PET)" in refusal(trained)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"},
        {"norm_op_kwargs": {"eps": 1e-3, "affine": True}},
        {"nonlin": "torch.nn.ReLU"},
        {"nonlin_kwargs": {"negative_slope": 0.2}},
        {"nonlin_first": True},
        {"squeeze_excitation": True},
        {"something": 1},
    ],
    ids=str,
)
def test_a_network_of_other_layers_is_refused_by_name(changes: dict[str, Any]) -> None:
    assert f"PlainConvUNet has {next(iter(changes))} =" in planned(with_arguments(**changes))


@pytest.mark.parametrize(
    "plans",
    [
        {},
        with_entry(PLANS, spacing=[1, 1]),
        with_entry(PLANS, patch_size="abc"),
        with_entry(PLANS, architecture=5),
        with_entry(PLANS, inherits_from="3d_fullres"),
        with_arguments(strides=[[1, 1, 1]]),
        with_arguments(features_per_stage=[10**9] * 4),
        with_arguments(n_stages=10**9, features_per_stage=4),
        PLANS | {"configurations": 3},
        PLANS | {"transpose_forward": [0, 0, 1]},
    ],
)
def test_plans_that_make_no_sense_are_refused_in_one_line(plans: dict[str, Any]) -> None:
    assert planned(plans)


def test_plans_of_both_ages_give_the_same_network() -> None:
    new = network_of(PLANS["configurations"]["3d_fullres"])
    old = network_of(
        {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 8,
            "n_conv_per_stage_encoder": [2, 2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2, 2],
            "pool_op_kernel_sizes": new.kwargs["strides"],
            "conv_kernel_sizes": new.kwargs["kernel_size"],
        }
    )
    assert old.kwargs == new.kwargs | {"filters": [4, 8, 8, 8]}
    assert new.kwargs["up_kernel_size"] == [[3, 3, 3], [3, 3, 3], [1, 3, 3]], "the kernels of the skip connections"
    assert old.name == new.name == "DynUNet"


def test_the_statistics_of_the_first_versions_plans_are_found_under_their_old_name() -> None:
    plans = dict(OLD_PLANS)
    plans["foreground_intensity_properties_by_modality"] = plans.pop("foreground_intensity_properties_per_channel")
    plan = plan_of(plans, "3d_lowres", LABELS, (0, 1))
    assert (plan.intensity.clip_hu, plan.intensity.mean_hu) == ((-160.0, 240.0), 60.0)


def test_a_reader_that_reorients_and_axes_in_another_order_are_kept() -> None:
    plans = PLANS | {"image_reader_writer": "NibabelIOWithReorient", "transpose_forward": [2, 0, 1]}
    plan = plan_of(plans, "3d_fullres", LABELS, ())
    assert (plan.orientation, plan.axes) == ("ras", (2, 0, 1))


@pytest.mark.parametrize(("force", "rule"), [(None, "auto"), (False, "isotropic"), (True, "separate_z")])
def test_the_resampling_rule_is_the_plans(force: bool | None, rule: str) -> None:
    kwargs = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": force}
    plans = with_entry(
        PLANS, resampling_fn_data_kwargs=kwargs, resampling_fn_probabilities_kwargs=kwargs | {"order": 1}
    )
    assert plan_of(plans, "3d_fullres", LABELS, ()).resampling == rule
    assert "different rules" in planned(with_entry(plans, resampling_fn_data_kwargs=kwargs | {"force_separate_z": 5}))
