"""nnU-Net v1's trained models are read without running anything, say what nnU-Net 1.7 said, or are refused by name.

What nnU-Net said was recorded by Testing/benchmarks/record_nnunet_v1.py, which tells how.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from flareseg.cli import main
from flareseg.errors import FlareError, ModelError, UsageError
from flareseg.inference.postprocessing import keep_largest
from flareseg.interop.import_model import import_model
from flareseg.interop.nnunet.importer import Choice, Imported
from flareseg.interop.nnunet.v1 import checkpoint as v1_checkpoint
from flareseg.interop.nnunet.v1 import pickles
from flareseg.interop.nnunet.v1.checkpoint import read_v1_weights
from flareseg.interop.nnunet.v1.importer import read_nnunet_v1
from flareseg.interop.nnunet.v1.pickles import read_pickle
from flareseg.io.files import read_labels, read_volume
from flareseg.model import catalogue
from flareseg.model.bundle import load_bundle
from flareseg.model.plan import LargestRule
from flareseg.options import Options
from flareseg.segmenter import Segmenter

RECORDED = Path(__file__).parent / "data" / "nnunet_v1"
NAMES = ("slices", "whole")
CHECKPOINT = "model_final_checkpoint.model"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without models."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(catalogue, "EMBEDDED", tmp_path / "embedded")


@dataclass(frozen=True)
class Recorded:
    """One recording, and the model that was imported from it."""

    folder: Path
    imported: Imported
    model: Path


@pytest.fixture(scope="module", params=NAMES)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = RECORDED / request.param
    imported = read_nnunet_v1(folder)
    model = tmp_path_factory.mktemp("imported") / request.param
    imported.save(model, name=request.param, overwrite=False)
    return Recorded(folder, imported, model)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder of nnU-Net v1 that a test may change, as its zips have it: nnUNet/3d_fullres/TASK/TRAINER__PLANS."""
    folder = tmp_path / "results" / "nnUNet"
    shutil.copytree(RECORDED / "slices" / "3d_fullres", folder / "3d_fullres")
    return folder


def model_in(folder: Path) -> Path:
    [model] = {path.parent.parent for path in folder.rglob(CHECKPOINT)}
    return model


def change_settings(model: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    for path in model.glob(f"fold_*/{CHECKPOINT}.pkl"):
        data = pickle.loads(path.read_bytes())
        change(data)
        path.write_bytes(pickle.dumps(data))


def refusal(of: Path, choice: Choice | None = None, kind: type[FlareError] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        read_nnunet_v1(of, choice)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


# The same answer


def test_the_labels_are_those_of_nnunet_1_7(recorded: Recorded) -> None:
    facts = json.loads((recorded.folder / "facts.json").read_text(encoding="utf-8"))
    segmenter = Segmenter(recorded.model, Options(device="cpu", threads=1))
    found = segmenter.segment(read_volume(recorded.folder / "image.nii.gz", force=True)).labels
    expected = read_labels(recorded.folder / "labels.nii.gz")[0]
    assert facts["versions"]["nnunet"] == "1.7.1" and min(facts["voxels"]) > 50
    assert np.count_nonzero(found != expected) <= 1e-4 * expected.size
    assert bool(recorded.imported.plan.mirror_axes) == facts["mirroring"]


def test_the_fast_way_gives_much_the_same_and_a_confidence(recorded: Recorded) -> None:
    image = read_volume(recorded.folder / "image.nii.gz", force=True)
    expected = read_labels(recorded.folder / "labels.nii.gz")[0]
    fast = Segmenter(recorded.model, Options(device="cpu", threads=1, parity=False, backend="torch"))
    assert np.mean(fast.segment(image).labels == expected) > 0.97
    exact = Segmenter(recorded.model, Options(device="cpu", threads=1, mirroring=False)).segment(image, confidence=True)
    assert exact.confidence is not None and exact.confidence.max() <= 100
    inside = exact.labels > 0
    assert exact.confidence[inside].mean() > 50


def test_an_imported_model_is_an_ordinary_one(recorded: Recorded) -> None:
    bundle = load_bundle(recorded.model)
    assert bundle.plan == recorded.imported.plan and bundle.plan.nnunet == 1 and bundle.plan.parity
    assert bundle.plan.needs_format == 5 and bundle.plan.orientation == "stored"
    assert bundle.info["provenance"]["source"] == "imported from an nnU-Net v1 trained model"
    assert bundle.info["provenance"]["dataset"] == "Task900_Toy"


def test_folds_transposed_axes_and_stages_are_taken_from_the_settings() -> None:
    slices, whole = (read_nnunet_v1(RECORDED / name) for name in NAMES)
    assert (slices.name, whole.name) == ("Toy-3d-fullres", "Toy-3d-lowres")
    assert len(slices.nets) == 2 and len(whole.nets) == 1
    assert whole.plan.axes == (1, 0, 2) and whole.plan.spacing_zyx_mm == (2.5, 2.8, 2.6)
    assert slices.plan.network.kwargs["kernel_size"][0] == [1, 3, 3] and slices.plan.patch_zyx == (8, 32, 32)
    assert slices.plan.intensity.clip_hu == (-150.0, 230.0) and slices.plan.intensity.std_hu == 60.5
    assert len(read_nnunet_v1(RECORDED / "slices", Choice(folds=("1",))).nets) == 1


# Labels


def test_structures_that_nothing_names_have_numbers_and_a_note_says_how_to_name_them(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(read_nnunet_v1(trained).plan.labels.values()) == ["background", "label_1", "label_2"]
    assert main(["models", "import", str(trained), "--name", "a"]) == 0
    assert "--labels NAME,NAME" in capsys.readouterr().out
    assert main(["models", "import", str(trained), "--name", "b", "--labels", "pancreas, cancer"]) == 0
    assert "Labels" not in capsys.readouterr().out
    assert list(load_bundle(catalogue.find_model("b")).plan.labels.values()) == ["background", "pancreas", "tumour"]
    assert "2 structures; --labels names 3" in refusal(trained, Choice(labels=("a", "b", "c")))


def test_a_dataset_json_in_the_folder_names_them(trained: Path) -> None:
    path = model_in(trained) / "dataset.json"
    path.write_text(json.dumps({"labels": {"0": "background", "1": "liver", "2": "cancer"}}), encoding="utf-8")
    assert list(read_nnunet_v1(trained).plan.labels.values()) == ["background", "liver", "tumour"]
    path.write_text(json.dumps({"labels": {"0": "background", "1": "liver"}}), encoding="utf-8")
    assert "names 1 structures; its plans have 2" in refusal(trained)


def test_labels_are_not_for_models_of_version_2() -> None:
    folder = RECORDED.parent / "nnunet" / "anisotropic" / "model"
    with pytest.raises(UsageError, match="--labels is for models of nnU-Net v1"):
        import_model(folder, choice=Choice(labels=("a",)))


# Components


def test_a_postprocessing_json_is_followed(trained: Path, tmp_path: Path) -> None:
    path = model_in(trained) / "postprocessing.json"
    path.write_text(json.dumps({"for_which_classes": [[1, 2], 2], "min_valid_object_sizes": "None"}), encoding="utf-8")
    imported = read_nnunet_v1(trained, Choice(labels=("pancreas", "cancer")))
    assert imported.plan.largest == (LargestRule(("pancreas", "tumour")), LargestRule(("tumour",)))
    imported.save(tmp_path / "model", name="a", overwrite=False)
    assert load_bundle(tmp_path / "model").plan == imported.plan
    segmenter = Segmenter(tmp_path / "model", Options(device="cpu", threads=1, mirroring=False, step=1.0))
    found = segmenter.segment(read_volume(RECORDED / "slices" / "image.nii.gz", force=True))
    for values in (found.labels > 0, found.labels == 14):
        assert ndimage.label(values)[1] == 1
    sizes = "{(1, 2): 5000.0, 2: 200}"
    path.write_text(json.dumps({"for_which_classes": [[1, 2], 2], "min_valid_object_sizes": sizes}), encoding="utf-8")
    assert [rule.below_ml for rule in read_nnunet_v1(trained).plan.largest] == [5.0, 0.2]
    for strange in ({}, {"for_which_classes": [9]}, {"for_which_classes": [0]}, {"for_which_classes": "x"}):
        path.write_text(json.dumps(strange), encoding="utf-8")
        assert "makes no sense" in refusal(trained)


def test_the_largest_component_stays_with_those_as_large_and_those_above_a_volume() -> None:
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[0, 0, :4], labels[0, 2, :4], labels[0, 4, :3], labels[0, 6, 0] = 1, 2, 1, 2
    labels[1, 1, 4] = 1  # touches by a corner alone
    labels[2, 8, :2], labels[2, 9, :2] = 1, 2
    joined = labels.copy()
    keep_largest(joined, 1.0, (1, 2), None)
    assert [int(joined[z].sum()) for z in range(3)] == [4 + 8, 0, 2 + 4], "the pair below is one of four voxels"
    above = labels.copy()
    keep_largest(above, 0.5, (1,), 1.5)
    assert above[0, 4, :3].all() and not above[1].any() and not (above[2] == 1).any()
    assert np.array_equal(above == 2, labels == 2)
    nothing = np.zeros((2, 2, 2), np.uint8)
    keep_largest(nothing, 1.0, (1,), None)
    assert not nothing.any()


# Folders and zips


def test_zips_and_every_folder_around_a_model_are_the_same_model(trained: Path, tmp_path: Path) -> None:
    expected = read_nnunet_v1(trained)
    path = tmp_path / "Task900_Toy.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in trained.rglob("*"):
            archive.write(file, file.relative_to(trained.parent))
    for place in (path, trained.parent, trained / "3d_fullres", model_in(trained), model_in(trained) / "plans.pkl"):
        found = read_nnunet_v1(place)
        assert (found.plan, found.name, len(found.nets)) == (expected.plan, expected.name, 2)
        assert torch.equal(
            found.nets[1]["input_block.conv1.conv.weight"], expected.nets[1]["input_block.conv1.conv.weight"]
        )


def test_one_of_several_configurations_is_chosen_and_2d_and_cascades_are_passed_over(trained: Path) -> None:
    for other in ("2d", "3d_cascade_fullres"):
        shutil.copytree(trained / "3d_fullres", trained / other)
    assert read_nnunet_v1(trained).name == "Toy-3d-fullres"
    shutil.copytree(trained / "3d_fullres", trained / "3d_lowres")
    text = refusal(trained, kind=UsageError)
    assert "3d_lowres" in text and "--configuration" in text
    assert read_nnunet_v1(trained, Choice(configuration="3d_lowres")).name == "Toy-3d-lowres"
    assert "no fold '7'" in refusal(trained, Choice(configuration="3d_lowres", folds=("7",)), UsageError)


# What is refused


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda data: data.update(name="nnUNetTrainerV2CascadeFullRes"), "second step of a cascade"),
        (lambda data: data.update(name="nnUNetTrainerV2BraTSRegions_DA4"), "trained on regions"),
        (lambda data: data.update(name="nnUNetTrainerV2_ReLU"), "another network than Generic_UNet"),
        (lambda data: data.update(name="nnUNetTrainerV2_ResencUNet"), "another network than Generic_UNet"),
        (lambda data: data["plans"].update(num_modalities=2), "2 images at once"),
        (lambda data: data["plans"].update(normalization_schemes={0: "nonCT"}), "'nonCT'"),
        (lambda data: data["plans"].update(use_mask_for_norm={0: True}), "within a mask"),
        (lambda data: data["plans"].update(preprocessor_name="PreprocessorFor2D"), "PreprocessorFor2D"),
        (lambda data: data["plans"]["plans_per_stage"][0].update(patch_size=[64, 64]), "2-D configuration"),
        (lambda data: data["plans"].update(base_num_features=5), "(4, 1, 1, 3, 3)"),
        (lambda data: data["plans"].update(conv_per_stage=3), "3 convolutions a stage"),
        (lambda data: data["plans"].pop("base_num_features"), "lack the entry 'base_num_features'"),
        (lambda data: data["plans"].update(transpose_forward=[0, 0, 1]), "makes no sense"),
        (lambda data: data.pop("plans"), "no settings of nnU-Net v1"),
        (lambda data: data["plans"].update(num_classes=10**6), "1000000 structures"),
    ],
)
def test_what_cannot_be_run_is_named(trained: Path, change: Callable[[dict[str, Any]], Any], word: str) -> None:
    change_settings(model_in(trained), change)
    assert word in refusal(trained)


def test_plans_of_the_first_releases_lack_kernels_and_strides(trained: Path) -> None:
    whole = RECORDED / "whole"
    expected = read_nnunet_v1(whole).plan
    folder = trained.parent / "old"
    shutil.copytree(whole / "3d_lowres", folder / "3d_lowres")

    def without(data: dict[str, Any]) -> None:
        for stage in data["plans"]["plans_per_stage"].values():
            del stage["pool_op_kernel_sizes"], stage["conv_kernel_sizes"]
        del data["plans"]["conv_per_stage"], data["plans"]["preprocessor_name"]

    change_settings(model_in(folder), without)
    assert read_nnunet_v1(folder).plan == expected


# Nothing is run


class Hostile:
    """Runs a command when it is unpickled by what trusts it."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> Any:
        return os.system, (self._command,)


def test_hostile_settings_are_refused_and_do_nothing(trained: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    change_settings(model_in(trained), lambda data: data.update(init=Hostile(f"touch {proof}")))
    text = refusal(trained)
    assert "system" in text and "could be a program" in text
    assert not proof.exists()


@pytest.mark.parametrize("new_format", [True, False])
def test_a_hostile_checkpoint_is_refused_and_does_nothing(trained: Path, tmp_path: Path, new_format: bool) -> None:
    proof = tmp_path / "ran"
    for path in model_in(trained).glob(f"fold_*/{CHECKPOINT}"):
        data = {"state_dict": {}, "x": Hostile(f"touch {proof}")}
        torch.save(data, path, _use_new_zipfile_serialization=new_format)
    assert "system" in refusal(trained) and not proof.exists()


def test_old_and_new_checkpoints_hold_the_same_weights(trained: Path, tmp_path: Path) -> None:
    path = next(model_in(trained).glob(f"fold_0/{CHECKPOINT}"))
    data = torch.load(path, weights_only=False)
    base = torch.arange(24.0).reshape(4, 6)
    data["state_dict"] |= {"turned": base.T, "part": base[1:3, 2:5], "half": base.half(), "none": torch.zeros(0)}
    data["plot_stuff"] = ([np.float64(0.5)], np.arange(3.0))
    old, new = tmp_path / "old.model", tmp_path / "new.model"
    torch.save(data, old, _use_new_zipfile_serialization=False)
    torch.save(data, new)
    first, second = read_v1_weights(old), read_v1_weights(new)
    assert list(first) == list(second)
    assert all(torch.equal(value, second[name]) and value.dtype == second[name].dtype for name, value in first.items())


def test_damaged_checkpoints_of_the_old_format_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.model"
    torch.save({"state_dict": {"a": torch.ones(64)}}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for keep in (0, 1, 20, 200, len(whole) - 300, len(whole) - 8):
        path.write_bytes(whole[:keep])
        with pytest.raises(ModelError) as caught:
            read_v1_weights(path)
        assert "\n" not in str(caught.value)
    torch.save({"state_dict": {}}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match="has no weights"):
        read_v1_weights(path)


def test_a_tensor_that_reaches_beyond_its_numbers_is_refused() -> None:
    storage = v1_checkpoint._Storage("0", np.dtype("<f4"), 4)
    tensor = v1_checkpoint._torch_stand_ins()["torch._utils", "_rebuild_tensor_v2"]
    with pytest.raises(ValueError, match="beyond its numbers"):
        v1_checkpoint._tensor(None, tensor(storage, 2, (3,), (1,), False, None), {"0": 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="without sizes"):
        tensor(storage, 0, (3,), (-1,))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_numpy_are_read_whatever_the_pickles_protocol(protocol: int) -> None:
    data = OrderedDict(
        a=np.array([[1.5, 2.5], [3.5, 4.5]], order="F"),
        b=np.float32(0.25),
        c=np.array([1, 2], ">i4"),
        d=[np.bool_(True), (np.int64(-3), "text", None)],
    )
    found = read_pickle(pickle.dumps(data, protocol), "x.pkl")
    assert found == {"a": [[1.5, 2.5], [3.5, 4.5]], "b": 0.25, "c": [1, 2], "d": [True, [-3, "text", None]]}


def test_a_pickle_cannot_take_memory_without_end_or_change_what_reads_the_next_one() -> None:
    inner: list[Any] = [0]
    for _ in range(9):
        inner = [inner] * 100
    with pytest.raises(ModelError, match="too much"):
        read_pickle(pickle.dumps(inner), "x.pkl")
    # Asks for a memo with four thousand million places.
    assert read_pickle(b"\x80\x02K\x01r\xff\xff\xff\xff.", "x.pkl") == 1
    # Sets an attribute of the class that stands in for numpy's.
    read_pickle(b"\x80\x02cnumpy\nndarray\nN}U\x05valueK\x01s\x86b.", "x.pkl")
    assert not hasattr(pickles.Unread, "value")
    assert read_pickle(pickle.dumps(np.float64(2)), "x.pkl") == 2
    for damaged in (b"", b"\x80\x04", b"cos\nsystem\n.", b"\x80\x02X\xff\xff\xff\xff.", b"\x80\x05\x96" + b"\xff" * 8):
        with pytest.raises(ModelError) as caught:
            read_pickle(damaged, "x.pkl")
        assert "\n" not in str(caught.value)
