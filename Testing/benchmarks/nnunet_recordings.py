"""The trained models of which `record_nnunet.py` records what nnU-Net says: plans, labels, images and settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
    return [_anisotropic(), _residual(), _old()]


def _anisotropic() -> Recording:
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
    return Recording(
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
    )


def _residual() -> Recording:
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
    return Recording(
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
    )


def _old() -> Recording:
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
    return Recording(
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
    )
