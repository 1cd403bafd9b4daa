"""A model as an nnU-Net folder: by its plans.json, built here from torch's functions, and, where its environment
(.venv-nnunet, `make -C Testing/benchmarks nnunet`) is, by nnU-Net's own predictor."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from models_to_export import FEW, FLAT_FIRST, ISOTROPIC, a_plan, network_of, save

from flareseg.errors import ModelError
from flareseg.interop.export import export_model
from flareseg.io.files import read_volume
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.plan import Plan
from flareseg.options import Options
from flareseg.segmenter import Segmenter

ROOT = Path(__file__).resolve().parents[2]
NNUNET_PYTHON = ROOT / ".venv-nnunet" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
PREDICT = """
import sys, torch
torch.set_num_threads(1)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
model, ct, output, step = sys.argv[1:]
predictor = nnUNetPredictor(
    tile_step_size=float(step), use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
)
predictor.initialize_from_trained_model_folder(model, None, "checkpoint_final.pth")
predictor.predict_from_files_sequential([[ct]], [output])
"""
MIXED = NetworkSpec("DynUNet", {**FLAT_FIRST.kwargs, "up_kernel_size": [[3, 3, 3], [3, 3, 3], [1, 3, 3]]})
"""FLAT_FIRST's encoder with a decoder whose kernels are its own, as imported models have it."""


def plain_conv_unet(plans: dict[str, Any], weights: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """nnU-Net's PlainConvUNet as its plans describe it, written with torch's functions alone."""
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    kernels, strides, stages = arguments["kernel_sizes"], arguments["strides"], arguments["n_stages"]

    def block(x: torch.Tensor, prefix: str, kernel: list[int], stride: list[int]) -> torch.Tensor:
        for number, step in enumerate((stride, [1, 1, 1])):
            own = f"{prefix}.convs.{number}"
            weight = weights[f"{own}.conv.weight"]
            assert list(weight.shape[2:]) == kernel
            x = F.conv3d(x, weight, weights[f"{own}.conv.bias"], step, [size // 2 for size in kernel])
            x = F.instance_norm(x, weight=weights[f"{own}.norm.weight"], bias=weights[f"{own}.norm.bias"], eps=1e-5)
            x = F.leaky_relu(x, 0.01)
        return x

    skips, x = [], image
    for stage in range(stages):
        x = block(x, f"encoder.stages.{stage}.0", kernels[stage], strides[stage])
        skips.append(x)
    for up in range(stages - 1):
        level = stages - 2 - up
        name = f"decoder.transpconvs.{up}"
        x = F.conv_transpose3d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], strides[level + 1])
        x = block(torch.cat((x, skips[level]), 1), f"decoder.stages.{up}", kernels[level], [1, 1, 1])
    head = f"decoder.seg_layers.{stages - 2}"
    return F.conv3d(x, weights[f"{head}.weight"], weights[f"{head}.bias"])


def checkpoint_of(folder: Path, fold: int = 0) -> dict[str, Any]:
    """Read as data: an exported checkpoint must need no pickled code."""
    content: dict[str, Any] = torch.load(folder / f"fold_{fold}" / "checkpoint_final.pth", weights_only=True)
    return content


@pytest.mark.parametrize(
    "network",
    [
        ISOTROPIC,
        FLAT_FIRST,
        MIXED,
        dynunet_spec([3, 4, 5], [5, 3, [1, 3, 3]], [1, 2, [1, 2, 2]]),
        dynunet_spec([2, 3, 4, 5, 6]),
    ],
    ids=["isotropic", "flat kernels", "decoder of its own", "kernels of 5", "five stages"],
)
def test_the_network_of_the_plans_with_the_weights_gives_the_same_logits(tmp_path, network):
    plan = a_plan(network=network, patch_zyx=(16, 32, 32))
    folder = export_model(save(tmp_path / "model", plan), "nnunet", folder=tmp_path / "out")
    image = torch.randn(1, 1, 16, 32, 32, generator=torch.Generator().manual_seed(5))
    plans = json.loads((folder / "plans.json").read_text())
    with torch.inference_mode():
        expected = network_of(plan)(image)
        logits = plain_conv_unet(plans, checkpoint_of(folder)["network_weights"], image)
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()


def test_the_tensors_that_nnunet_has_twice_are_the_same_ones(tmp_path):
    folder = export_model(save(tmp_path / "model", a_plan(network=FLAT_FIRST)), "nnunet", folder=tmp_path / "out")
    weights = checkpoint_of(folder)["network_weights"]
    for name, value in weights.items():
        if name.startswith("encoder."):
            assert value.equal(weights[f"decoder.{name}"])
        for alias, other in (("all_modules.0", "conv"), ("all_modules.1", "norm")):
            if alias in name:
                assert value.equal(weights[name.replace(alias, other)])
    assert sum("all_modules" in name for name in weights) == 4 * 2 * (4 + 4 + 3)  # tensors, convolutions, blocks


def test_the_nets_of_an_ensemble_are_folds(tmp_path):
    plan = a_plan()
    folder = export_model(save(tmp_path / "model", plan, nets=2), "nnunet", folder=tmp_path / "out")
    plans = json.loads((folder / "plans.json").read_text())
    image = torch.randn(1, 1, 8, 8, 8)
    for fold in range(2):
        with torch.inference_mode():
            logits = plain_conv_unet(plans, checkpoint_of(folder, fold)["network_weights"], image)
            expected = network_of(plan, fold)(image)
        assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(("axes", "written"), [((), None), ((0, 2), (0, 2))])
def test_only_the_plans_own_mirroring_is_allowed(tmp_path, axes, written):
    folder = export_model(save(tmp_path / "model", a_plan(mirror_axes=axes)), "nnunet", folder=tmp_path / "out")
    assert checkpoint_of(folder)["inference_allowed_mirroring_axes"] == written


def test_labels_and_preprocessing_are_those_of_the_plan(tmp_path):
    plan = a_plan(axes=(1, 2, 0), orientation="ras", image_order=1, resampling="auto")
    folder = export_model(save(tmp_path / "model", plan), "nnunet", folder=tmp_path / "out")
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {name: value for value, name in FEW.items()}
    plans = json.loads((folder / "plans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    assert (configuration["spacing"], configuration["patch_size"]) == ([4.0, 4.0, 4.0], [16, 16, 24])
    assert configuration["normalization_schemes"] == ["CTNormalization"]
    assert configuration["resampling_fn_data_kwargs"]["order"] == 1
    assert configuration["resampling_fn_data_kwargs"]["force_separate_z"] is None
    assert plans["image_reader_writer"] == "NibabelIOWithReorient"
    assert plans["transpose_forward"] == [1, 2, 0] and plans["transpose_backward"] == [2, 0, 1]
    assert plans["foreground_intensity_properties_per_channel"]["0"] == {
        "percentile_00_5": -200.0,
        "percentile_99_5": 300.0,
        "mean": 50.0,
        "std": 100.0,
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": dynunet_spec([3, 4, 5], strides=[1, 4, 2])}, "strides above 2"),
        ({"labels": {0: "background", 1: "ignore"}}, "a structure called 'ignore'"),
    ],
    ids=["strides", "ignore"],
)
def test_what_nnunet_would_understand_otherwise_is_refused(tmp_path, change, words):
    model = save(tmp_path / "model", a_plan(**change))
    with pytest.raises(ModelError, match=words):
        export_model(model, "nnunet", folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def a_ct_of_tissue(path: Path, shape: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]) -> Path:
    """Nothing but soft tissue, smooth, so that neither program crops anything."""
    noise = np.random.default_rng(3).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, [6 / mm for mm in spacing_zyx_mm])
    image = sitk.GetImageFromArray((60 + 60 * smooth / smooth.std()).astype(np.int16).clip(-250, 500))
    image.SetSpacing(spacing_zyx_mm[::-1])
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.skipif(
    not NNUNET_PYTHON.exists(), reason="nnU-Net's environment is not there: make -C Testing/benchmarks nnunet"
)
@pytest.mark.parametrize(
    ("plan", "nets", "spacing"),
    [
        (a_plan(), 1, (4.0, 4.0, 4.0)),
        (a_plan(step=1.0), 1, (3.0, 2.5, 2.5)),
        (a_plan(network=FLAT_FIRST, spacing_zyx_mm=(7.0, 2.0, 2.0), resampling="auto"), 1, (5.0, 2.5, 2.5)),
        (a_plan(network=MIXED), 2, (5.0, 3.0, 3.0)),
    ],
    ids=["no resampling", "isotropic", "separate z", "ensemble"],
)
def test_nnunets_own_predictor_gives_the_same_labels(tmp_path, plan: Plan, nets, spacing):
    model = save(tmp_path / "model", plan, nets=nets)
    folder = export_model(model, "nnunet", folder=tmp_path / "out")
    ct = a_ct_of_tissue(tmp_path / "ct.nii.gz", (30, 50, 60), spacing)
    order = [str(folder), str(ct), str(tmp_path / "theirs"), str(plan.step)]
    done = subprocess.run([str(NNUNET_PYTHON), "-c", PREDICT, *order], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    channels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "theirs.nii.gz")))
    values = np.array([0, 1, 4, 14])  # nnU-Net numbers structures by channel, flareseg as FLARE does
    options = Options(device="cpu", threads=1, parity=True, step=plan.step, mirroring=False)
    ours = Segmenter(model, options).segment(read_volume(ct)).labels
    assert len(np.unique(ours)) > 2
    assert (values[channels] == ours).mean() >= 0.9999
