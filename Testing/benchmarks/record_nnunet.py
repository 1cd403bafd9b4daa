"""What nnU-Net itself says of small images with small networks, recorded for the tests in Testing/engine.

    ../../.venv-nnunet/bin/python record_nnunet.py ../engine/data/nnunet        (or: make record-nnunet)

Three trained-model folders as nnU-Net 2.8.1 writes them, each with an image, nnU-Net's labels of it, and the logits of
the first fold's network for a window of noise:

    anisotropic   PlainConvUNet, first kernel (1,3,3), two folds, CT normalisation, slices resampled one by one,
                  step 0.5 with mirroring; FLARE's structures under other names, in another order
    residual      ResidualEncoderUNet, z-score normalisation of what is not zero, isotropic resampling, image smaller
                  than the window, axes transposed; structures of its own and an ignore label; random weights
    old           plans of version 2.1, 3d_lowres, 1 to 3 convolutions a stage, no resampling, image with a border of
                  zeros, step 1 without mirroring; fold "all"

Runs in nnU-Net's environment. The same command gives the same files on the same versions and processor.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

FILE_ENDING = ".nii.gz"
HU_STEP = 10
"""Images are rounded to it, so that they compress well."""
TRAINING_STEPS = 900


@dataclass(frozen=True)
class Recording:
    """One model, one image, one setting of the predictor."""

    name: str
    configuration: str
    plans: dict[str, Any]
    labels: dict[str, int]
    channel: str
    folds: tuple[str, ...]
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    step: float
    mirroring: bool
    mirror_axes: tuple[int, ...] | None
    logits_window: tuple[int, int, int]
    zero_border: int = 0
    trained: bool = True
    trainer: str = "nnUNetTrainer"
    extra: dict[str, Any] = field(default_factory=dict)


def resampling(order: int, force: bool | None) -> dict[str, Any]:
    return {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": force}


def configuration(spacing: list[float], patch: list[int], normalisation: str, mask: bool) -> dict[str, Any]:
    """What every configuration has, in the planner's words."""
    return {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "median_image_size_in_voxels": [float(size) for size in patch],
        "spacing": spacing,
        "normalization_schemes": [normalisation],
        "use_mask_for_norm": [mask],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling(3, None),
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling(1, None),
        "batch_dice": False,
    }


def architecture(name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            **arguments,
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def all_plans(dataset: str, name: str, chosen: dict[str, Any], transpose: list[int]) -> dict[str, Any]:
    statistics = {
        "max": 1200.0,
        "mean": 60.0,
        "median": 55.0,
        "min": -800.0,
        "percentile_00_5": -160.0,
        "percentile_99_5": 240.0,
        "std": 75.0,
    }
    return {
        "dataset_name": dataset,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": chosen["spacing"],
        "original_median_shape_after_transp": chosen["patch_size"],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": transpose,
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "configurations": {name: chosen},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": statistics},
    }


def recordings() -> list[Recording]:
    anisotropic = configuration([4.0, 1.2, 1.2], [8, 32, 32], "CTNormalization", False)
    anisotropic["architecture"] = architecture(
        "PlainConvUNet",
        n_stages=4,
        features_per_stage=[4, 5, 6, 6],
        kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
        n_conv_per_stage=[2, 2, 2, 2],
        n_conv_per_stage_decoder=[2, 2, 2],
    )
    residual = configuration([2.0, 2.0, 2.0], [24, 32, 24], "ZScoreNormalization", True)
    residual["architecture"] = architecture(
        "ResidualEncoderUNet",
        n_stages=4,
        features_per_stage=[3, 4, 4, 6],
        kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
        n_blocks_per_stage=[1, 2, 1, 2],
        n_conv_per_stage_decoder=[1, 1, 2],
    )
    residual["spacing"] = [2.0, 2.0, 2.0]
    old = configuration([3.0, 2.5, 2.5], [16, 24, 24], "CTNormalization", False) | {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "n_conv_per_stage_encoder": [1, 2, 3],
        "n_conv_per_stage_decoder": [2, 1],
        "num_pool_per_axis": [2, 2, 2],
        "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
        "unet_max_num_features": 6,
    }
    return [
        Recording(
            name="anisotropic",
            configuration="3d_fullres",
            plans=all_plans("Dataset023_Abdomen", "3d_fullres", anisotropic, [0, 1, 2]),
            labels={"background": 0, "lesion": 1, "LK": 2, "kidney_right": 3, "Liver": 4},
            channel="CT",
            folds=("0", "1"),
            shape_zyx=(14, 44, 40),
            spacing_zyx_mm=(3.0, 1.5, 1.4),
            step=0.5,
            mirroring=True,
            mirror_axes=(0, 1, 2),
            logits_window=(8, 16, 16),
        ),
        Recording(
            name="residual",
            configuration="3d_fullres",
            plans=all_plans("Dataset105_Pelvis", "3d_fullres", residual, [2, 0, 1]),
            labels={"background": 0, "prostate": 1, "urinary_bladder": 2, "liver": 3, "ignore": 4},
            channel="MR",
            folds=("2",),
            shape_zyx=(20, 36, 34),
            spacing_zyx_mm=(2.6, 1.5, 1.7),
            step=0.5,
            mirroring=True,
            mirror_axes=(0, 2),
            logits_window=(8, 16, 16),
            zero_border=2,
            trained=False,
        ),
        Recording(
            name="old",
            configuration="3d_lowres",
            plans=all_plans("Dataset050_Tumours", "3d_lowres", old, [0, 1, 2]),
            labels={"background": 0, "liver": 1, "tumor": 2},
            channel="CT",
            folds=("all",),
            shape_zyx=(22, 40, 36),
            spacing_zyx_mm=(3.0, 2.5, 2.5),
            step=1.0,
            mirroring=False,
            mirror_axes=None,
            logits_window=(8, 8, 8),
            zero_border=3,
        ),
    ]


def phantom(of: Recording, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A body with one ellipsoid per structure, int16 HU, and its labels."""
    rng = np.random.default_rng(17)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in of.shape_zyx), indexing="ij"))
    hu, labels = np.full(of.shape_zyx, -900.0), np.zeros(of.shape_zyx, np.int64)
    hu[(grid[1] / 0.9) ** 2 + (grid[2] / 0.85) ** 2 < 1] = 20
    for label in range(1, classes):
        centre = rng.uniform(-0.5, 0.5, 3)
        inside = ((grid - centre[:, None, None, None]) ** 2 / (0.35**2)).sum(0) < 1
        hu[inside], labels[inside] = 60 + 40 * label, label
    hu += rng.normal(0, 20, hu.shape)
    hu = np.rint(hu / HU_STEP) * HU_STEP
    border = of.zero_border
    if border:
        inner = np.zeros(hu.shape, bool)
        inner[border:-border, border:-border, border : -border - 1] = True
        hu[~inner], labels[~inner] = 0, 0
    return hu.astype(np.int16), labels


def network_of(of: Recording) -> Any:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(json.loads(json.dumps(of.plans)))
    heads = manager.get_label_manager({"labels": of.labels}).num_segmentation_heads
    return nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration(of.configuration), 1, heads, enable_deep_supervision=True
    )


def train(network: Any, of: Recording, hu: np.ndarray, labels: np.ndarray) -> Any:
    """A moment of training on the phantom itself, so that the network finds something; returns the optimiser."""
    optimiser = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9, nesterov=True)
    image = torch.from_numpy((np.clip(hu, -160, 240) - 60.0) / 75.0).float()
    truth = torch.from_numpy(labels)
    weights = torch.tensor([1.0] + [5.0] * int(labels.max()))  # every structure is to be found
    sizes = [min(size // 8 * 8, patch) for size, patch in zip(hu.shape, (8, 32, 32), strict=True)]
    rng = np.random.default_rng(3)
    for _ in range(TRAINING_STEPS if of.trained else 1):
        corner = [int(rng.integers(0, size - part + 1)) for size, part in zip(hu.shape, sizes, strict=True)]
        box = tuple(slice(start, start + part) for start, part in zip(corner, sizes, strict=True))
        output = network(image[box][None, None])[0]
        loss = torch.nn.functional.cross_entropy(output, truth[box][None], weights)
        optimiser.zero_grad()
        loss.backward()
        if of.trained:
            optimiser.step()
    return optimiser


def save_checkpoint(network: Any, optimiser: Any, of: Recording, fold: str, path: Path) -> None:
    """As nnUNetTrainer.save_checkpoint, with a training log of numpy scalars."""
    from nnunetv2.training.logging.nnunet_logger import LocalLogger

    log = LocalLogger().my_fantastic_logging
    for key in ("mean_fg_dice", "ema_fg_dice", "train_losses", "val_losses", "lrs"):
        if key in log:
            log[key] = [np.float64(0.5), np.float32(0.25), 0.125]
    if "dice_per_class_or_region" in log:
        log["dice_per_class_or_region"] = [[np.float64(0.5), np.float64(np.nan)]]
    checkpoint = {
        "network_weights": network.state_dict(),
        "optimizer_state": optimiser.state_dict() | {"state": {}},  # it would be as large as the network
        "grad_scaler_state": None,
        "logging": log,
        "_best_ema": np.float64(0.5),
        "current_epoch": 1,
        "init_args": {
            "plans": of.plans,
            "configuration": of.configuration,
            "fold": int(fold) if fold.isdecimal() else fold,
            "dataset_json": dataset(of),
            "device": torch.device("cpu"),
        },
        "trainer_name": of.trainer,
        "inference_allowed_mirroring_axes": of.mirror_axes,
    }
    path.parent.mkdir(parents=True)
    torch.save(checkpoint, path)


def dataset(of: Recording) -> dict[str, Any]:
    return {
        "channel_names": {"0": of.channel},
        "labels": of.labels,
        "numTraining": 1,
        "file_ending": FILE_ENDING,
        "licence": "none",
        "reference": "a phantom",
    }


def write_image(array: np.ndarray, of: Recording, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(of.spacing_zyx_mm[::-1])
    image.SetOrigin((-20.0, 30.0, 40.0))
    sitk.WriteImage(image, str(path), useCompression=True)


def record(of: Recording, folder: Path) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.manual_seed(5)
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps(of.plans, indent=1), encoding="utf-8")
    (model / "dataset.json").write_text(json.dumps(dataset(of), indent=1), encoding="utf-8")
    hu, labels = phantom(of, len([name for name in of.labels if name != "ignore"]))
    write_image(hu, of, folder / "image.nii.gz")
    for fold in of.folds:
        network = network_of(of)
        optimiser = train(network, of, hu, labels)
        save_checkpoint(network, optimiser, of, fold, model / f"fold_{fold}" / "checkpoint_final.pth")
    predictor = nnUNetPredictor(
        tile_step_size=of.step, use_mirroring=of.mirroring, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), of.folds, "checkpoint_final.pth")
    predictor.predict_from_files_sequential([[str(folder / "image.nii.gz")]], [str(folder / "labels")])
    for rest in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        (folder / rest).unlink(missing_ok=True)
    window = np.random.default_rng(1).normal(size=(1, 1, *of.logits_window)).astype(np.float32)
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    with torch.inference_mode():
        logits = predictor.network.eval()(torch.from_numpy(window))[0].numpy()
    np.savez_compressed(folder / "logits.npz", window=window[0, 0], logits=logits)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels.nii.gz")))
    facts = {
        "step": of.step,
        "mirroring": of.mirroring,
        "voxels": np.bincount(found.ravel(), minlength=len(of.labels)).tolist(),
        "versions": {name: version(name) for name in ("nnunetv2", "dynamic-network-architectures", "torch")},
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(of.name, facts)


def main() -> None:
    target = Path(sys.argv[1])
    torch.set_num_threads(1)
    for of in recordings():
        folder = target / of.name
        shutil.rmtree(folder, ignore_errors=True)
        record(of, folder)


if __name__ == "__main__":
    main()
