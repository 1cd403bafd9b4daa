"""What the settings beside a checkpoint of nnU-Net v1 say of its network and its images, as a `Plan`.

Version 1 has one network, Generic_UNet, whose numbers stand in the plans. What it is made of is said by the trainer's
class, so trainers that are known to build another network are refused by name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flareseg.errors import ModelError
from flareseg.interop.nnunet.plans import FAST_STEP, LEAST_STD
from flareseg.interop.nnunet.weights import nnunet_spec
from flareseg.model.networks.dynunet import dynunet_spec, pads_as_nnunet
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.plan import LargestRule, Plan, ResamplingRule
from flareseg.model.plan_checks import check_plan, short

if TYPE_CHECKING:
    import torch

MOST_FILTERS = 320
"""Of Generic_UNet in 3-D."""
MOST_STAGES = 16
MM3_IN_ML = 1000.0
LONGEST_SIZES = 10_000
"""Characters of the table of volumes that postprocessing.json holds as a text."""
_PREPROCESSORS = {"GenericPreprocessor": 3, "GenericPreprocessor_linearResampling": 1}
"""How images are prepared, and by splines of which order they are interpolated."""
_OTHER_NETWORK = re.compile(
    r"Cascade|Regions|Resenc|[_Rr]e?LU|GeLU|Mish|_BN|_GN|_FRN|NoNormalization|ConvPerStage|allConv3x3|slope|MMS",
    re.IGNORECASE,
)
_NAMED = {"Cascade": "the second step of a cascade", "Regions": "trained on regions, which overlap"}
_NO_MIRRORING = re.compile(r"no_?mirror", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """What model_*.model.pkl holds.

    Attributes:
        plans: the table of all configurations.
        trainer: the class that trained.
        stage: which configuration, by its number.
    """

    plans: dict[Any, Any]
    trainer: str
    stage: int


def settings_of(data: Any, name: str) -> Settings:
    """The settings, from the plain objects of the pickle `name`.

    Raises:
        ModelError: when it is none of nnU-Net's.
    """
    try:
        plans, trainer, init = data["plans"], data["name"], data["init"]
        stages = plans["plans_per_stage"]
        stage = init[5] if len(init) > 5 and type(init[5]) is int else None
        if stage is None:
            (stage,) = stages  # nnU-Net's rule: then there is one
        stages[stage]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise ModelError(f"'{name}' holds no settings of nnU-Net v1: it lacks plans, trainer or stage.") from None
    if not isinstance(trainer, str) or type(stage) is not int:
        raise ModelError(f"'{name}' holds no settings of nnU-Net v1: its entries are of another kind.")
    return Settings(plans, trainer, stage)


def plan_of_v1(settings: Settings, labels: dict[int, str], *, parity: bool = True) -> Plan:
    """How a network of these settings is applied.

    Raises:
        ModelError: naming what cannot be run here.
    """
    _check_trainer(settings.trainer)
    try:
        plans, stage = settings.plans, settings.plans["plans_per_stage"][settings.stage]
        if len(stage["patch_size"]) != 3:
            raise ModelError("It is a 2-D configuration; flareseg runs 3d_fullres and 3d_lowres of nnU-Net v1.")
        if plans["num_modalities"] != 1:
            raise ModelError(f"The model takes {plans['num_modalities']} images at once; flareseg has one CT.")
        network = _network(plans, stage)
        data = {
            "spacing_zyx_mm": stage["current_spacing"],
            "patch_zyx": stage["patch_size"],
            "intensity": _intensity(plans),
            "network": {"name": network.name, "kwargs": network.kwargs},
            "labels": labels,
            "step": FAST_STEP,
            "mirror_axes": [] if _NO_MIRRORING.search(settings.trainer) else [0, 1, 2],
            "resampling": _resampling(plans),
            "image_order": _image_order(plans),
            "orientation": "stored",
            "axes": plans.get("transpose_forward") or [0, 1, 2],
            "inference": {"parity": parity, "nnunet": 1},
        }
    except KeyError as error:
        raise ModelError(f"The model's plans lack the entry {short(str(error))}.") from None
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise ModelError(f"The model's plans have an entry that makes no sense: {short(str(error), 200)}.") from None
    try:
        plan = Plan.from_json(data)
        check_plan(plan)
    except ModelError as error:
        raise ModelError(short(str(error), 300)) from None
    return plan


def largest_rules(data: dict[str, Any], labels: dict[int, str]) -> tuple[LargestRule, ...]:
    """What a postprocessing.json says, which nnU-Net v1 applies wherever it lies in a model's folder.

    Args:
        data: its content.
        labels: of the plan.

    Raises:
        ModelError: when it makes no sense.
    """
    try:
        groups = [group if isinstance(group, list) else [group] for group in data["for_which_classes"]]
        sizes = ast.literal_eval(str(data.get("min_valid_object_sizes"))[:LONGEST_SIZES])
        if any(value == 0 for group in groups for value in group):
            raise ValueError("background")
        keys = [tuple(group) if len(group) > 1 else group[0] for group in groups]
        below = [None if sizes is None else float(sizes[key]) / MM3_IN_ML for key in keys]
        return tuple(
            LargestRule(tuple(labels[int(value)] for value in group), ml)
            for group, ml in zip(groups, below, strict=True)
        )
    except (KeyError, TypeError, ValueError, SyntaxError, IndexError, RecursionError, MemoryError):
        raise ModelError("The model's postprocessing.json makes no sense.") from None


def as_version_2(state: dict[str, torch.Tensor], stages: int, convolutions: int) -> dict[str, torch.Tensor]:
    """The tensors of Generic_UNet under the names that version 2's PlainConvUNet has for them.

    Args:
        state: of a checkpoint.
        stages: of the network.
        convolutions: of each stage.
    """
    names = dict(_names(stages, convolutions))
    result = {}
    for name, value in state.items():
        plain = re.sub(r"^(module\.)+", "", str(name))
        layer, _, kind = plain.rpartition(".")
        result[f"{names[layer]}.{kind}" if layer in names else plain] = value
    return result


def _names(stages: int, convolutions: int) -> Iterator[tuple[str, str]]:
    def block(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
        yield f"{theirs}.conv", f"{ours}.conv"
        yield f"{theirs}.instnorm", f"{ours}.norm"

    def split(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
        """All convolutions but the last are in one list, the last is in a list of its own."""
        for number in range(convolutions):
            last = number == convolutions - 1
            yield from block(f"{theirs}.1.blocks.0" if last else f"{theirs}.0.blocks.{number}", f"{ours}.{number}")

    for stage in range(stages - 1):
        for number in range(convolutions):
            yield from block(f"conv_blocks_context.{stage}.blocks.{number}", f"encoder.stages.{stage}.0.convs.{number}")
    yield from split(f"conv_blocks_context.{stages - 1}", f"encoder.stages.{stages - 1}.0.convs")
    for up in range(stages - 1):
        yield from split(f"conv_blocks_localization.{up}", f"decoder.stages.{up}.convs")
        yield f"tu.{up}", f"decoder.transpconvs.{up}"
        yield f"seg_outputs.{up}", f"decoder.seg_layers.{up}"


def _check_trainer(trainer: str) -> None:
    found = _OTHER_NETWORK.search(trainer)
    if found:
        what = next((text for word, text in _NAMED.items() if word in trainer), "of another network than Generic_UNet")
        raise ModelError(f"The model of the trainer '{short(trainer)}' is {what}, which flareseg does not run.")


def convolutions_of(plans: dict[Any, Any]) -> int:
    """Of each stage."""
    return int(plans.get("conv_per_stage", 2))


def _network(plans: dict[Any, Any], stage: dict[Any, Any]) -> NetworkSpec:
    per_axis = [int(count) for count in stage["num_pool_per_axis"]]
    pools, kernels = stage.get("pool_op_kernel_sizes"), stage.get("conv_kernel_sizes")
    if max(per_axis) > MOST_STAGES:
        raise ValueError(f"{max(per_axis)} stages")
    if pools is None:  # as the first releases left them out
        pools = [[2 if max(per_axis) - count <= level else 1 for count in per_axis] for level in range(max(per_axis))]
    if kernels is None:
        kernels = [[3, 3, 3]] * (len(pools) + 1)
    if len(pools) > MOST_STAGES or len(kernels) != len(pools) + 1:
        raise ValueError(f"{len(pools)} poolings, {len(kernels)} kernels")
    kernels = [[int(size) for size in kernel] for kernel in kernels]
    strides = [[1, 1, 1], *([int(size) for size in pool] for pool in pools)]
    if any(size not in (1, 3) for kernel in kernels for size in kernel):
        raise ModelError("The model's kernels are of other sizes than 1 and 3, which nnU-Net v1 pads in its own way.")
    filters = [min(int(plans["base_num_features"]) * 2**level, MOST_FILTERS) for level in range(len(kernels))]
    count = convolutions_of(plans)
    if count == 2 and pads_as_nnunet(strides):
        # The decoder's kernels are those of the stage below, as DynUNet has them too.
        return dynunet_spec(filters, list(kernels), list(strides))
    if any(kernel != kernels[0] for kernel in kernels):
        raise ModelError(
            f"The model has {count} convolutions a stage, or strides above 2, with kernels of several sizes, which "
            "flareseg does not build."
        )
    levels = len(filters)
    return nnunet_spec(
        *(filters, kernels, strides),
        residual=False,
        blocks=[count] * levels,
        decoder_convolutions=[count] * (levels - 1),
    )


def _intensity(plans: dict[Any, Any]) -> dict[str, Any]:
    scheme, masked = plans["normalization_schemes"][0], plans["use_mask_for_norm"][0]
    if scheme != "CT" or masked:
        how = f"'{short(str(scheme))}'" + (" within a mask" if masked else "")
        raise ModelError(f"The model normalises by {how}; of nnU-Net v1 flareseg runs models for CT.")
    numbers = plans["dataset_properties"]["intensityproperties"][0]
    return {
        "clip_hu": [float(numbers["percentile_00_5"]), float(numbers["percentile_99_5"])],
        "mean_hu": float(numbers["mean"]),
        "std_hu": max(float(numbers["sd"]), LEAST_STD),
    }


def _image_order(plans: dict[Any, Any]) -> int:
    name = plans.get("preprocessor_name") or "GenericPreprocessor"
    if name not in _PREPROCESSORS:
        raise ModelError(
            f"The model prepares images by '{short(str(name))}'; flareseg knows {' and '.join(_PREPROCESSORS)}."
        )
    return _PREPROCESSORS[name]


def _resampling(plans: dict[Any, Any]) -> ResamplingRule:
    """Images always follow nnU-Net's rule; what the plans say of the output must be the same."""
    export = plans.get("segmentation_export_params")
    if export is None:
        return "auto"
    found = (export["force_separate_z"], export["interpolation_order"], export["interpolation_order_z"])
    if found != (None, 1, 0):
        raise ModelError(f"The model resamples its output by a rule of its own ({short(str(found))}).")
    return "auto"
