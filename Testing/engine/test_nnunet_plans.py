"""Plans of nnU-Net become a plan that gives its answer, or are refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from nnunet_models import LABELS, OLD_PLANS, PLANS, copy_of_trained, edit, refusal

from flareseg.errors import ModelError
from flareseg.interop.nnunet.plans import network_of, plan_of


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return copy_of_trained(tmp_path)


# Plans


def with_entry(plans: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Plans whose one configuration has other entries."""
    [name] = plans["configurations"]
    return plans | {"configurations": {name: plans["configurations"][name] | changes}}


def with_arguments(**changes: Any) -> dict[str, Any]:
    architecture = PLANS["configurations"]["3d_fullres"]["architecture"]
    return with_entry(PLANS, architecture=architecture | {"arch_kwargs": architecture["arch_kwargs"] | changes})


def planned(plans: dict[str, Any], configuration: str = "3d_fullres") -> str:
    with pytest.raises(ModelError) as caught:
        plan_of(plans, configuration, LABELS, ())
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_what_cannot_be_run_is_named(trained: Path) -> None:
    lowres = PLANS["configurations"]["3d_fullres"]
    cascade = PLANS | {
        "configurations": {
            "3d_lowres": lowres,
            "3d_cascade_fullres": {"inherits_from": "3d_lowres", "previous_stage": "3d_lowres"},
        }
    }
    assert "second step of a cascade" in planned(cascade, "3d_cascade_fullres")
    assert "2-D" in planned(with_entry(PLANS, patch_size=[256, 256]))
    assert "2 images at once" in planned(with_entry(PLANS, normalization_schemes=["CTNormalization"] * 2))
    assert "'RGBTo01Normalization'" in planned(with_entry(PLANS, normalization_schemes=["RGBTo01Normalization"]))
    assert "'MyPreprocessor'" in planned(with_entry(PLANS, preprocessor_name="MyPreprocessor"))
    assert "'no_resampling_hack'" in planned(with_entry(PLANS, resampling_fn_data="no_resampling_hack"))
    assert "'NaturalImage2DIO'" in planned(PLANS | {"image_reader_writer": "NaturalImage2DIO"})
    network = {"network_class_name": "my.nets.Primus", "arch_kwargs": {}}
    assert "is a 'Primus'; flareseg builds PlainConvUNet and ResidualEncoderUNet" in planned(
        with_entry(PLANS, architecture=network)
    )
    edit(trained / "dataset.json", lambda data: data.update(channel_names={"0": "CT", "1": "PET"}))
    assert "2 images at once (CT, PET)" in refusal(trained)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"},
        {"norm_op_kwargs": {"eps": 1e-3, "affine": True}},
        {"nonlin": "torch.nn.ReLU"},
        {"nonlin_kwargs": {"negative_slope": 0.2}},
        {"nonlin_first": True},
        {"squeeze_excitation": True},
        {"something": 1},
    ],
    ids=str,
)
def test_a_network_of_other_layers_is_refused_by_name(changes: dict[str, Any]) -> None:
    assert f"PlainConvUNet has {next(iter(changes))} =" in planned(with_arguments(**changes))


@pytest.mark.parametrize(
    "plans",
    [
        {},
        with_entry(PLANS, spacing=[1, 1]),
        with_entry(PLANS, patch_size="abc"),
        with_entry(PLANS, architecture=5),
        with_entry(PLANS, inherits_from="3d_fullres"),
        with_arguments(strides=[[1, 1, 1]]),
        with_arguments(features_per_stage=[10**9] * 4),
        with_arguments(n_stages=10**9, features_per_stage=4),
        PLANS | {"configurations": 3},
        PLANS | {"transpose_forward": [0, 0, 1]},
    ],
)
def test_plans_that_make_no_sense_are_refused_in_one_line(plans: dict[str, Any]) -> None:
    assert planned(plans)


def test_plans_of_both_ages_give_the_same_network() -> None:
    new = network_of(PLANS["configurations"]["3d_fullres"])
    old = network_of(
        {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 8,
            "n_conv_per_stage_encoder": [2, 2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2, 2],
            "pool_op_kernel_sizes": new.kwargs["strides"],
            "conv_kernel_sizes": new.kwargs["kernel_size"],
        }
    )
    assert old.kwargs == new.kwargs | {"filters": [4, 8, 8, 8]}
    assert new.kwargs["up_kernel_size"] == [[3, 3, 3], [3, 3, 3], [1, 3, 3]], "the kernels of the skip connections"
    assert old.name == new.name == "DynUNet"


def test_the_statistics_of_the_first_versions_plans_are_found_under_their_old_name() -> None:
    plans = dict(OLD_PLANS)
    plans["foreground_intensity_properties_by_modality"] = plans.pop("foreground_intensity_properties_per_channel")
    plan = plan_of(plans, "3d_lowres", LABELS, (0, 1))
    assert (plan.intensity.clip_hu, plan.intensity.mean_hu) == ((-160.0, 240.0), 60.0)


def test_a_reader_that_reorients_and_axes_in_another_order_are_kept() -> None:
    plans = PLANS | {"image_reader_writer": "NibabelIOWithReorient", "transpose_forward": [2, 0, 1]}
    plan = plan_of(plans, "3d_fullres", LABELS, ())
    assert (plan.orientation, plan.axes) == ("ras", (2, 0, 1))


@pytest.mark.parametrize(("force", "rule"), [(None, "auto"), (False, "isotropic"), (True, "separate_z")])
def test_the_resampling_rule_is_the_plans(force: bool | None, rule: str) -> None:
    kwargs = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": force}
    plans = with_entry(
        PLANS, resampling_fn_data_kwargs=kwargs, resampling_fn_probabilities_kwargs=kwargs | {"order": 1}
    )
    assert plan_of(plans, "3d_fullres", LABELS, ()).resampling == rule
    assert "different rules" in planned(with_entry(plans, resampling_fn_data_kwargs=kwargs | {"force_separate_z": 5}))
