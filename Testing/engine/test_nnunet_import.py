"""nnU-Net's trained models are found in folders and zips, with FLARE's structures under FLARE's numbers."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from nnunet_models import LABELS, RECORDED, copy_of_trained, refusal

from flareseg.cli import main
from flareseg.errors import ModelError, UsageError
from flareseg.interop.import_model import import_model
from flareseg.interop.nnunet.importer import Choice, read_nnunet
from flareseg.interop.nnunet.labels import plan_labels, structure_named
from flareseg.labels import by_name, structures
from flareseg.model import catalogue
from flareseg.model.bundle import load_bundle, read_description
from flareseg.model.catalogue import describe, list_models
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.structures import own_colour, structures_of


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without models."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(catalogue, "EMBEDDED", tmp_path / "embedded")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return copy_of_trained(tmp_path)


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
