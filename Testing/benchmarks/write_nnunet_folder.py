"""Write a flareseg model as an nnU-Net v2 trained-model folder: the same weights for nnU-Net's own predictor.

    python Testing/benchmarks/write_nnunet_folder.py MODEL FOLDER

FOLDER gets plans.json, dataset.json and fold_0/checkpoint_final.pth. The network is nnU-Net's PlainConvUNet with two
convolutions a stage. It has biases before its normalisations, which the normalisation cancels; they are set to 0.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import find_model
from flareseg.model.plan import Plan

CONFIGURATION = "3d_fullres"
MIRROR_AXES = (0, 1, 2)
"""nnU-Net's default: all three, whatever the training did."""


def write_nnunet_folder(model: Path, folder: Path) -> None:
    """Write `model` (a flareseg model folder) to `folder`; its coarse net and its component rules are left behind.

    Raises:
        ValueError: when the kernel sizes differ between stages; DynUNet and PlainConvUNet then put them in different
            places.
    """
    bundle = load_bundle(model)
    kwargs = bundle.plan.network.kwargs
    kernels, strides = _per_axis(kwargs["kernel_size"]), _per_axis(kwargs["strides"])
    if any(kernel != kernels[0] for kernel in kernels):
        raise ValueError(f"kernel sizes {kernels}: only one size for all stages can be written for nnU-Net")
    fold = folder / "fold_0"
    fold.mkdir(parents=True, exist_ok=True)
    plans = nnunet_plans(bundle.plan, kwargs["filters"], kernels, strides)
    (folder / "plans.json").write_text(json.dumps(plans, indent=1), encoding="utf-8")
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {name: value for value, name in bundle.plan.labels.items()},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(dataset, indent=1), encoding="utf-8")
    checkpoint = {
        "network_weights": nnunet_weights(bundle.weights, stages=len(kwargs["filters"])),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": MIRROR_AXES,
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")


def nnunet_weights(weights: dict[str, torch.Tensor], stages: int) -> dict[str, torch.Tensor]:
    """DynUNet's tensors under PlainConvUNet's names, in fp32, with the entries that its state dict holds twice."""
    last = stages - 1
    encoder: dict[str, torch.Tensor] = {}
    decoder: dict[str, torch.Tensor] = {}

    def block(target: dict[str, torch.Tensor], prefix: str, source: str) -> None:
        for number in (1, 2):
            convolution = weights[f"{source}.conv{number}.conv.weight"].float()
            own = f"{prefix}.convs.{number - 1}"
            # A block names its layers, and lists them once more as all_modules.
            for conv, norm in (("conv", "norm"), ("all_modules.0", "all_modules.1")):
                target[f"{own}.{conv}.weight"] = convolution
                target[f"{own}.{conv}.bias"] = torch.zeros(len(convolution))
                target[f"{own}.{norm}.weight"] = weights[f"{source}.norm{number}.weight"].float()
                target[f"{own}.{norm}.bias"] = weights[f"{source}.norm{number}.bias"].float()

    for stage in range(stages):
        source = {0: "input_block", last: "bottleneck"}.get(stage, f"downsamples.{stage - 1}")
        block(encoder, f"stages.{stage}.0", source)
    for up in range(last):
        block(decoder, f"stages.{up}", f"upsamples.{up}.conv_block")
        for kind in ("weight", "bias"):
            decoder[f"transpconvs.{up}.{kind}"] = weights[f"upsamples.{up}.transp_conv.conv.{kind}"].float()
    _segmentation_layers(decoder, weights, last)
    return {
        **{f"encoder.{name}": value for name, value in encoder.items()},
        # The decoder registers the encoder again.
        **{f"decoder.encoder.{name}": value for name, value in encoder.items()},
        **{f"decoder.{name}": value for name, value in decoder.items()},
    }


def _segmentation_layers(decoder: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], ups: int) -> None:
    """PlainConvUNet has one output layer per resolution; only the last is used in inference, the others are 0."""
    output = weights["output_block.conv.conv.weight"].float()
    for up in range(ups - 1):
        channels = decoder[f"stages.{up}.convs.1.conv.weight"].shape[0]
        decoder[f"seg_layers.{up}.weight"] = torch.zeros(len(output), channels, 1, 1, 1)
        decoder[f"seg_layers.{up}.bias"] = torch.zeros(len(output))
    decoder[f"seg_layers.{ups - 1}.weight"] = output
    decoder[f"seg_layers.{ups - 1}.bias"] = weights["output_block.conv.conv.bias"].float()


def nnunet_plans(plan: Plan, filters: list[int], kernels: list[list[int]], strides: list[list[int]]) -> dict[str, Any]:
    """What nnU-Net's planner would have written for this network, with its default preprocessing."""
    intensity, stages = plan.intensity, len(filters)
    force = {"auto": None, "isotropic": False, "separate_z": True}[plan.resampling]
    rule = {"order_z": 0, "force_separate_z": force}
    configuration = {
        "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(plan.patch_zyx),
        "spacing": list(plan.spacing_zyx_mm),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **rule},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **rule},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **rule},
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": filters,
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": kernels,
                "strides": strides,
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    statistics = {
        "percentile_00_5": intensity.clip_hu[0],
        "percentile_99_5": intensity.clip_hu[1],
        "mean": intensity.mean_hu,
        "std": intensity.std_hu,
    }
    return {
        "dataset_name": "Dataset999_flareseg",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": statistics},
        "configurations": {CONFIGURATION: configuration},
    }


def _per_axis(values: list[Any]) -> list[list[int]]:
    return [value if isinstance(value, list) else [value] * 3 for value in values]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("model", help="name or folder of a flareseg model")
    parser.add_argument("folder", type=Path, help="to write")
    arguments = parser.parse_args()
    write_nnunet_folder(find_model(arguments.model), arguments.folder)
