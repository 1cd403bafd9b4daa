"""What a MONAI bundle says about its net, and how MONAI applies it: metadata.json and inference.json."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import flareseg
from flareseg.inference.body import BODY_ABOVE_HU, MARGIN_MM
from flareseg.interop.source import Source
from flareseg.model.plan import Plan

SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
IMAGE = "@image_key"
NEEDS = {"nibabel": "5.2.1", "pytorch-ignite": "0.4.11"}
"""What the inference configuration needs beside MONAI itself, and the lowest version it is known to run with."""


def metadata(source: Source) -> dict[str, Any]:
    """What MONAI's metadata schema asks for."""
    plan, info = source.plan, source.info
    low, high = _normalised_range(plan)
    tensor = {"type": "image", "spatial_shape": list(plan.patch_zyx), "dtype": "float32", "is_patch_data": True}
    return {
        "schema": SCHEMA,
        "version": info["version"],
        "changelog": {info["version"]: f"exported by flareseg {flareseg.__version__}"},
        "monai_version": _release("monai"),
        "pytorch_version": _release("torch"),
        "numpy_version": _release("numpy"),
        "required_packages_version": NEEDS,
        "optional_packages_version": {},  # which older versions of the schema ask for
        "name": source.name,
        "task": "Segmentation of abdominal structures in CT",
        "description": info["description"],
        "authors": info["citation"],
        "copyright": f"See LICENSE ({info['licence']})",
        "data_type": "nibabel",
        "image_classes": f"CT in Hounsfield units, clipped and normalised; axes {source.axes}",
        "pred_classes": "one channel of logits per structure, background first",
        "intended_use": "Research only; not a medical device",
        "references": [info["citation"]],
        "weights_sha256_before_export": source.sha256,
        "network_data_format": {
            "inputs": {
                "image": tensor
                | {
                    "format": "hounsfield",
                    "modality": "CT",
                    "num_channels": 1,
                    "value_range": [low, high],
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": tensor
                | {
                    "format": "segmentation",
                    "num_channels": plan.classes,
                    "value_range": [],
                    "channel_def": {str(channel): name for channel, name in plan.labels.items()},
                }
            },
        },
    }


def inference(source: Source, definition: dict[str, Any]) -> dict[str, Any]:
    """The configuration of `python -m monai.bundle run`: every .nii.gz of `dataset_dir` to labels in `output_dir`."""
    plan = source.plan
    return {
        "imports": ["$import glob", "$import os", "$import numpy", "$import torch"],
        "bundle_root": ".",
        "image_key": "image",
        "dataset_dir": "$os.path.join(@bundle_root, 'data')",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz')))",
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": definition,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(plan)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{@image_key: path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(plan.patch_zyx),
            "sw_batch_size": 1,
            "overlap": 1 - plan.step,
            "mode": "gaussian",
            "padding_mode": "constant",
            "cval": plan.padding,
        },
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(source)},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$os.path.join(@bundle_root, 'models', 'model.pt')",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": "$@device.type == 'cuda'",
        },
        "run": ["$@evaluator.run()"],
    }


def _preprocessing(plan: Plan) -> list[dict[str, Any]]:
    """To the plan's axis order, the body, the plan's grid and the plan's normalisation.

    Clipped before the interpolation and, as this overshoots, once more after it.
    """
    directions = {"canonical": "SPL", "ras": "SAR"}[plan.orientation]  # along z, y, x
    (clip_low, clip_high), (low, high) = plan.intensity.clip_hu, _normalised_range(plan)
    return [
        {"_target_": "LoadImaged", "keys": IMAGE, "reader": "NibabelReader"},
        {"_target_": "EnsureChannelFirstd", "keys": IMAGE},
        {"_target_": "Orientationd", "keys": IMAGE, "axcodes": "".join(directions[axis] for axis in plan.axes)},
        {
            "_target_": "CropForegroundd",
            "keys": IMAGE,
            "source_key": IMAGE,
            "select_fn": f"$lambda image: image > {BODY_ABOVE_HU}",
            "margin": round(MARGIN_MM),
            "allow_smaller": True,
        },
        _rescaled((clip_low, clip_high), (low, high)),
        {
            "_target_": "Spacingd",
            "keys": IMAGE,
            "pixdim": list(plan.spacing_zyx_mm),
            "mode": "bilinear",
            "padding_mode": "border",
            "dtype": "$numpy.float32",
            "scale_extent": True,
            "align_corners": True,
        },
        _rescaled((low, high), (low, high)),
        {"_target_": "EnsureTyped", "keys": IMAGE, "device": "@device"},
    ]


def _postprocessing(source: Source) -> list[dict[str, Any]]:
    """The logits back on the CT's grid, and the label of the highest."""
    steps: list[dict[str, Any]] = [
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": IMAGE,
            "nearest_interp": False,
            "to_tensor": True,
            "device": "cpu",
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    ]
    channels = list(range(source.plan.classes))
    if source.values != channels:
        steps.append(
            {"_target_": "MapLabelValued", "keys": "pred", "orig_labels": channels, "target_labels": source.values}
        )
    save = {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_ext": ".nii.gz",
        "output_dtype": "$numpy.uint8",
        "output_postfix": "labels",
        "separate_folder": False,
    }
    return [*steps, save]


def _rescaled(source: tuple[float, float], target: tuple[float, float]) -> dict[str, Any]:
    (a_min, a_max), (b_min, b_max) = source, target
    numbers = {"a_min": a_min, "a_max": a_max, "b_min": b_min, "b_max": b_max}
    return {"_target_": "ScaleIntensityRanged", "keys": IMAGE, **numbers, "clip": True}


def _normalised_range(plan: Plan) -> tuple[float, float]:
    mean, std = plan.intensity.mean_hu, plan.intensity.std_hu
    low, high = plan.intensity.clip_hu
    return (low - mean) / std, (high - mean) / std


def _release(package: str) -> str:
    """An installed version without the build that follows a plus sign."""
    return version(package).split("+")[0]
