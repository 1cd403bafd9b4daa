"""What nnU-Net v1 itself says of small images with small networks, recorded for the tests in Testing/engine.

    make record-nnunet-v1

Runs in an environment with torch and then nnunet==1.7.1, which loads its own checkpoints with a newer torch only where
TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 says so. Two trained models as nnU-Net 1.7.1's own trainers write them, each with an
image and what nnU-Net's own predictor says of it:

    slices    nnUNetTrainerV2, 3d_fullres: first kernel and stride (1,3,3) and (1,2,2), two folds, all mirrored, slices
              resampled one by one
    whole     nnUNetTrainerV2_noMirroring, 3d_lowres of two stages: isotropic resampling, axes transposed, a border of
              zeros; the checkpoint as torch wrote it before 1.6

The same command gives the same files on the same versions and processor.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

HOME = Path(tempfile.mkdtemp())
for variable in ("nnUNet_raw_data_base", "nnUNet_preprocessed", "RESULTS_FOLDER"):
    os.environ.setdefault(variable, str(HOME))

STEPS = 500
HU_STEP = 10
"""Images are rounded to it, so that they compress well."""


@dataclass(frozen=True)
class Recording:
    """One model, one image."""

    name: str
    configuration: str
    trainer: str
    stage: int
    stages: dict[int, dict[str, Any]]
    transpose: tuple[int, int, int]
    classes: int
    folds: tuple[int, ...]
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    mirroring: bool
    border: int = 0
    old_format: bool = False


def stage_of(
    spacing: list[float], patch: list[int], pools: list[list[int]], kernels: list[list[int]]
) -> dict[str, Any]:
    """As nnU-Net's planner writes one."""
    return {
        "batch_size": 2,
        "num_pool_per_axis": [sum(pool[axis] > 1 for pool in pools) for axis in range(3)],
        "patch_size": np.array(patch),
        "median_patient_size_in_voxels": np.array(patch),
        "current_spacing": np.array(spacing),
        "original_spacing": np.array(spacing),
        "do_dummy_2D_data_aug": False,
        "pool_op_kernel_sizes": pools,
        "conv_kernel_sizes": kernels,
    }


def recordings() -> list[Recording]:
    slices = stage_of([4.0, 1.2, 1.2], [8, 32, 32], [[1, 2, 2], [2, 2, 2]], [[1, 3, 3], [3, 3, 3], [3, 3, 3]])
    low = stage_of([2.5, 2.8, 2.6], [16, 24, 24], [[2, 2, 2], [2, 2, 2]], [[3, 3, 3]] * 3)
    full = stage_of([1.5, 1.4, 1.3], [16, 24, 24], [[2, 2, 2], [2, 2, 2]], [[3, 3, 3]] * 3)
    return [
        Recording(
            name="slices",
            configuration="3d_fullres",
            trainer="nnUNetTrainerV2",
            stage=0,
            stages={0: slices},
            transpose=(0, 1, 2),
            classes=2,
            folds=(0, 1),
            shape_zyx=(14, 44, 40),
            spacing_zyx_mm=(3.0, 1.5, 1.4),
            mirroring=True,
        ),
        Recording(
            name="whole",
            configuration="3d_lowres",
            trainer="nnUNetTrainerV2_noMirroring",
            stage=0,
            stages={0: low, 1: full},
            transpose=(1, 0, 2),
            classes=3,
            folds=(3,),
            shape_zyx=(26, 40, 36),
            spacing_zyx_mm=(2.0, 1.9, 2.1),
            mirroring=False,
            border=2,
            old_format=True,
        ),
    ]


def plans_of(of: Recording) -> dict[str, Any]:
    """As nnU-Net's planner writes them, with statistics of every case among them."""
    numbers = OrderedDict(
        median=np.float32(80), mean=np.float64(75.25), sd=np.float64(60.5), mn=np.float32(-300), mx=np.float32(900)
    )
    numbers["percentile_99_5"], numbers["percentile_00_5"] = np.float64(230.0), np.float64(-150.0)
    numbers["local_props"] = OrderedDict(case=OrderedDict(mean=np.float32(70), sd=np.float32(50)))
    return {
        "num_stages": len(of.stages),
        "num_modalities": 1,
        "modalities": {0: "CT"},
        "normalization_schemes": OrderedDict({0: "CT"}),
        "dataset_properties": {
            "all_sizes": [of.shape_zyx],
            "all_spacings": [np.array(of.spacing_zyx_mm)],
            "all_classes": list(range(1, of.classes + 1)),
            "modalities": {0: "CT"},
            "intensityproperties": OrderedDict({0: numbers}),
            "size_reductions": OrderedDict(case=np.float64(1.0)),
        },
        "list_of_npz_files": ["case.npz"],
        "original_spacings": [np.array(of.spacing_zyx_mm)],
        "original_sizes": [of.shape_zyx],
        "preprocessed_data_folder": "none",
        "num_classes": of.classes,
        "all_classes": list(range(1, of.classes + 1)),
        "base_num_features": 4,
        "use_mask_for_norm": OrderedDict({0: False}),
        "keep_only_largest_region": None,
        "min_region_size_per_class": None,
        "min_size_per_class": None,
        "transpose_forward": list(of.transpose),
        "transpose_backward": [of.transpose.index(axis) for axis in range(3)],
        "data_identifier": "nnUNetData_plans_v2.1",
        "plans_per_stage": of.stages,
        "preprocessor_name": "GenericPreprocessor",
        "conv_per_stage": 2,
    }


def phantom(of: Recording) -> tuple[np.ndarray, np.ndarray]:
    """A body with one ellipsoid per structure, int16 HU, and its labels."""
    rng = np.random.default_rng(23)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in of.shape_zyx), indexing="ij"))
    hu, labels = np.full(of.shape_zyx, -900.0), np.zeros(of.shape_zyx, np.int64)
    hu[(grid[1] / 0.9) ** 2 + (grid[2] / 0.85) ** 2 < 1] = 20
    for label in range(1, of.classes + 1):
        centre = rng.uniform(-0.5, 0.5, 3)
        inside = ((grid - centre[:, None, None, None]) ** 2 / (0.35**2)).sum(0) < 1
        hu[inside], labels[inside] = 60 + 40 * label, label
    hu = np.rint((hu + rng.normal(0, 20, hu.shape)) / HU_STEP) * HU_STEP
    if of.border:
        inner = np.zeros(hu.shape, bool)
        inner[of.border : -of.border, of.border : -of.border, of.border : -of.border - 1] = True
        hu[~inner], labels[~inner] = 0, 0
    return hu.astype(np.int16), labels


def train(network: Any, of: Recording, hu: np.ndarray, labels: np.ndarray) -> None:
    """A moment of training on the phantom itself, so that the network finds something."""
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    image = torch.from_numpy((np.clip(hu, -150, 230) - 75.25) / 60.5).float().permute(of.transpose)
    truth = torch.from_numpy(labels).permute(of.transpose)
    weights = torch.tensor([1.0] + [4.0] * of.classes)
    patch = of.stages[of.stage]["patch_size"]
    sizes = [min(size // 4 * 4, int(part)) for size, part in zip(image.shape, patch, strict=True)]
    rng = np.random.default_rng(3)
    for _ in range(STEPS):
        corner = [int(rng.integers(0, size - part + 1)) for size, part in zip(image.shape, sizes, strict=True)]
        box = tuple(slice(start, start + part) for start, part in zip(corner, sizes, strict=True))
        loss = torch.nn.functional.cross_entropy(network(image[box][None, None])[0], truth[box][None], weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def record(of: Recording, folder: Path) -> None:
    from batchgenerators.utilities.file_and_folder_operations import load_pickle, save_pickle
    from nnunet.inference.predict import predict_cases
    from nnunet.training.network_training.nnUNet_variants.data_augmentation.nnUNetTrainerV2_noMirroring import (
        nnUNetTrainerV2_noMirroring,
    )
    from nnunet.training.network_training.nnUNetTrainerV2 import nnUNetTrainerV2

    kinds = {kind.__name__: kind for kind in (nnUNetTrainerV2, nnUNetTrainerV2_noMirroring)}
    model = folder / of.configuration / "Task900_Toy" / f"{of.trainer}__nnUNetPlansv2.1"
    model.mkdir(parents=True)
    save_pickle(plans_of(of), str(model / "plans.pkl"))
    hu, labels = phantom(of)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(of.spacing_zyx_mm[::-1])
    sitk.WriteImage(image, str(folder / "image.nii.gz"), useCompression=True)
    for fold in of.folds:
        torch.manual_seed(5 + fold)
        trainer = kinds[of.trainer](
            str(model / "plans.pkl"), fold, str(model), str(HOME), batch_dice=False, stage=of.stage, fp16=False
        )
        trainer.initialize(False)
        train(trainer.network, of, hu, labels)
        trainer.optimizer.state.clear()  # it would be as large as the network
        (model / f"fold_{fold}").mkdir(exist_ok=True)
        path = model / f"fold_{fold}" / "model_final_checkpoint.model"
        trainer.save_checkpoint(str(path), save_optimizer=True)
        # The settings name the folders of whoever trained.
        settings = load_pickle(f"{path}.pkl")
        settings["init"] = ("plans.pkl", fold, "out", "data", False, of.stage, True, True, False)
        save_pickle(settings, f"{path}.pkl")
        if of.old_format:
            torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    predict_cases(
        *(str(model), [[str(folder / "image.nii.gz")]], [str(folder / "labels.nii.gz")], of.folds, False, 1, 1),
        do_tta=of.mirroring,
        mixed_precision=False,
        overwrite_existing=True,
        step_size=0.5,
    )
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels.nii.gz")))
    facts = {
        "mirroring": of.mirroring,
        "voxels": np.bincount(found.ravel(), minlength=of.classes + 1).tolist(),
        "versions": {name: version(name) for name in ("nnunet", "scikit-image", "torch")},
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for log in model.rglob("*.txt"):
        log.unlink()
    for fold in model.iterdir():
        if fold.is_dir() and not any(fold.iterdir()):
            fold.rmdir()
    print(of.name, facts)


def main() -> None:
    target = Path(sys.argv[1]).resolve()
    torch.set_num_threads(1)
    for of in recordings():
        folder = target / of.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        record(of, folder)


if __name__ == "__main__":
    try:
        main()
    finally:
        shutil.rmtree(HOME, ignore_errors=True)
