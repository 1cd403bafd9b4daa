"""A net as an nnU-Net v2 trained-model folder, which nnU-Net's own predictor loads.

The network is nnU-Net's PlainConvUNet with two convolutions a stage. It has biases before its normalisations, which
the normalisation cancels; they are 0 here. Its output layers at lower resolutions serve training only; they are 0 too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flareseg.errors import ModelError
from flareseg.interop.kernels import plain_unet, with_kernels
from flareseg.interop.source import Source
from flareseg.model.networks.dynunet import NNUNET, kernel_of_weights, pads_as_nnunet, shared_kernels
from flareseg.model.networks.registry import architecture_of
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.plan import Plan

if TYPE_CHECKING:
    import torch

KIND = "nnunet"
CONFIGURATION = "3d_fullres"
RESERVED_LABELS = ("ignore",)
"""Names that mean something else to nnU-Net."""


def write_nnunet(source: Source, folder: Path) -> None:
    """Write plans.json, dataset.json and fold_0/checkpoint_final.pth; the nets of an ensemble are the folds.

    Raises:
        ModelError: when the net is none that nnU-Net builds, or has a label that nnU-Net understands otherwise.
    """
    import torch

    plan = source.plan
    layers = plain_unet(plan.network, KIND)
    if not pads_as_nnunet(layers.strides):
        raise ModelError("The network has strides above 2, where nnU-Net pads in another way; onnx takes it.")
    for name in plan.labels.values():
        if name in RESERVED_LABELS:
            raise ModelError(f"nnU-Net does not take a structure called '{name}'; rename it in the model first.")
    plans = nnunet_plans(plan, layers.filters, shared_kernels(layers, NNUNET), layers.strides)
    _write_json(folder / "plans.json", plans)
    dataset = {
        "name": source.name,
        "description": source.info["description"],
        "licence": source.info["licence"],
        "reference": source.info["citation"],
        "channel_names": {"0": "CT"},
        "labels": {name: channel for channel, name in plan.labels.items()},
        "file_ending": ".nii.gz",
    }
    _write_json(folder / "dataset.json", dataset)
    for fold, weights in enumerate(source.nets):
        checkpoint = {
            "network_weights": nnunet_weights(weights, plan.network),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": CONFIGURATION},
            # None, because nnU-Net fails on an empty list.
            "inference_allowed_mirroring_axes": plan.mirror_axes or None,
        }
        (folder / f"fold_{fold}").mkdir()
        with (folder / f"fold_{fold}" / "checkpoint_final.pth").open("wb") as file:  # a full disk is an OSError then
            torch.save(checkpoint, file)


def nnunet_weights(weights: dict[str, torch.Tensor], spec: NetworkSpec) -> dict[str, torch.Tensor]:
    """The tensors under PlainConvUNet's names, in fp32, with the entries that its state dict holds twice."""
    layers = plain_unet(spec, KIND)
    ours = with_kernels(weights, kernel_of_weights(layers, NNUNET))
    state = {theirs: ours[name] for theirs, name in architecture_of(spec).nnunet_names(spec)}
    for name, value in list(state.items()):
        if name.endswith(".conv.weight"):
            state[name.removesuffix("weight") + "bias"] = value.new_zeros(len(value))
    # A block names its layers, and lists them once more.
    for alias, layer in ((".all_modules.0.", ".conv."), (".all_modules.1.", ".norm.")):
        state |= {name.replace(layer, alias): value for name, value in state.items() if layer in name}
    # One output layer per resolution, deepest first; those below the last serve training only.
    for up, step in enumerate(layers.decoder[:-1]):
        head = state[f"decoder.seg_layers.{len(layers.decoder) - 1}.weight"]
        state[f"decoder.seg_layers.{up}.weight"] = head.new_zeros(len(head), step.channels, 1, 1, 1)
        state[f"decoder.seg_layers.{up}.bias"] = head.new_zeros(len(head))
    # The decoder registers the encoder again.
    return state | {f"decoder.{name}": value for name, value in state.items() if name.startswith("encoder.")}


def nnunet_plans(
    plan: Plan, filters: list[int], kernels: Sequence[Sequence[int]], strides: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """What nnU-Net's planner would have written for this network, with its default preprocessing."""
    intensity, stages = plan.intensity, len(filters)
    force = {"auto": None, "corners": None, "isotropic": False, "separate_z": True}[plan.resampling]
    rule = {"order_z": 0, "force_separate_z": force}
    schemes = {"ct": "CTNormalization", "zscore": "ZScoreNormalization", "zscore_nonzero": "ZScoreNormalization"}
    configuration = {
        "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(plan.patch_zyx),
        "spacing": list(plan.spacing_zyx_mm),
        "normalization_schemes": [schemes[intensity.scheme]],
        "use_mask_for_norm": [intensity.scheme == "zscore_nonzero"],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": plan.image_order, **rule},
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
        "image_reader_writer": "NibabelIOWithReorient" if plan.orientation == "ras" else "SimpleITKIO",
        "transpose_forward": list(plan.axes),
        "transpose_backward": [plan.axes.index(axis) for axis in range(3)],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": statistics},
        "configurations": {CONFIGURATION: configuration},
    }


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
