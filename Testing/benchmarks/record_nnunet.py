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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from nnunet_recordings import Recording, recordings

FILE_ENDING = ".nii.gz"
HU_STEP = 10
"""Images are rounded to it, so that they compress well."""
TRAINING_STEPS = 900


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
