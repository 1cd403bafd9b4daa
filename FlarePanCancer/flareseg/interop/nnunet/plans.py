"""What an nnU-Net v2 plans.json says of one configuration, as a `Plan`: both the plans of versions 2.0 and 2.1, whose
networks are spread over several keys, and those with an entry "architecture"."""

from __future__ import annotations

from typing import Any

from flareseg.errors import ModelError
from flareseg.inference.resample import ANISOTROPY_THRESHOLD
from flareseg.interop.nnunet.weights import nnunet_spec
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.plan import OrientationRule, Plan, ResamplingRule
from flareseg.model.plan_checks import check_plan, short

CONFIGURATIONS = ("3d_fullres", "3d_lowres")
FAST_STEP = 1.0
"""How far apart windows are once the user has chosen speed; parity mode has nnU-Net's step of its own."""
MOST_STAGES = 16
"""What is read at all; `networks/spec.py` has the bounds of what can be built."""
LEAST_STD = 1e-8
"""What nnU-Net divides by at least."""
_NETWORKS = {"PlainConvUNet": False, "ResidualEncoderUNet": True}
"""The networks that can be built, and whether their encoders are residual."""
_OLD_KEYS = {
    "conv_kernel_sizes": "kernel_sizes",
    "pool_op_kernel_sizes": "strides",
    "n_conv_per_stage_decoder": "n_conv_per_stage_decoder",
}
_SAME = {
    "conv_op": ("Conv3d",),
    "norm_op": ("InstanceNorm3d",),
    "nonlin": ("LeakyReLU",),
    "block": ("BasicBlockD",),
    "pool": ("conv",),
    "pool_type": ("conv",),
}
"""Of arguments that name a kind of layer, the one kind that there is here."""
_UNUSED = {"conv_bias", "dropout_op", "dropout_op_kwargs", "deep_supervision", "stochastic_depth_p"}
"""Of no effect on what a trained network says: norms take biases away, dropout is for training."""
_DEFAULTS = {
    "nonlin_first": False,
    "squeeze_excitation": False,
    "bottleneck_channels": None,
    "disable_default_stem": False,
    "squeeze_excitation_reduction_ratio": None,
}
_SIZES = {"n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder"}
_READERS: dict[str, OrientationRule] = {
    "SimpleITKIO": "stored",
    "NibabelIO": "stored",
    "SimpleITKIOWithReorient": "ras",
    "NibabelIOWithReorient": "ras",
}
_SCHEMES = {"CTNormalization": "ct", "ZScoreNormalization": "zscore"}
_RESAMPLING = {"resample_data_or_seg_to_shape": 3, "resample_torch_fornnunet": 1}
"""nnU-Net's ways to resample, and with which splines they interpolate an image unless told otherwise."""


def plan_of(
    plans: dict[str, Any],
    configuration: str,
    labels: dict[int, str],
    mirror_axes: tuple[int, ...],
    *,
    parity: bool = True,
) -> Plan:
    """How a network of these plans is applied.

    Args:
        plans: the content of plans.json.
        configuration: which of them, e.g. "3d_fullres".
        labels: from `labels.plan_labels`.
        mirror_axes: what the checkpoint allows.
        parity: see `Plan`.

    Raises:
        ModelError: naming what cannot be run here.
    """
    try:
        chosen = _configuration(plans, configuration)
        _check_kind(chosen, configuration)
        network = network_of(chosen)
        axes = plans.get("transpose_forward", [0, 1, 2])
        data = {
            "spacing_zyx_mm": chosen["spacing"],
            "patch_zyx": chosen["patch_size"],
            "intensity": _intensity(plans, chosen),
            "network": {"name": network.name, "kwargs": network.kwargs},
            "labels": labels,
            "step": FAST_STEP,
            "mirror_axes": sorted(mirror_axes),
            "resampling": resampling_rule(chosen),
            "image_order": _image_order(chosen),
            "orientation": _orientation(plans),
            "axes": axes,
            "inference": {"parity": parity},
        }
    except KeyError as error:
        raise ModelError(f"The model's plans.json lacks the entry {short(str(error))}.") from None
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        told = short(str(error), 200)
        raise ModelError(f"The model's plans.json has an entry that makes no sense: {told}.") from None
    try:
        plan = Plan.from_json(data)
        check_plan(plan)  # raises ModelError where stages, or what they need, are beyond the bounds
    except ModelError as error:
        raise ModelError(short(str(error), 300)) from None
    return plan


def network_of(chosen: dict[str, Any]) -> NetworkSpec:
    """The network of one configuration.

    Raises:
        ModelError: naming the architecture, or the layer, that cannot be built.
    """
    kind, arguments = _architecture(chosen)
    name = str(kind).rpartition(".")[2]
    if name not in _NETWORKS:
        raise ModelError(
            f"The model's network is a '{name[:80]}'; flareseg builds {' and '.join(_NETWORKS)} of nnU-Net."
        )
    residual = _NETWORKS[name]
    counts = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    for key, value in arguments.items():
        _check_argument(name, key, value, _SIZES | {counts} | ({"stem_channels"} if residual else set()))
    stages = arguments["n_stages"]
    if not isinstance(stages, int) or not 1 <= stages <= MOST_STAGES:
        raise ValueError(f"{stages} stages")
    return nnunet_spec(
        [int(value) for value in _each(arguments["features_per_stage"], stages)],
        [_triple(value) for value in _each(arguments["kernel_sizes"], stages)],
        [_triple(value) for value in _each(arguments["strides"], stages)],
        residual=residual,
        blocks=[int(value) for value in _each(arguments[counts], stages)],
        decoder_convolutions=[int(value) for value in _each(arguments["n_conv_per_stage_decoder"], stages - 1)],
        stem_filters=arguments.get("stem_channels"),
    )


def resampling_rule(chosen: dict[str, Any]) -> ResamplingRule:
    """Which axes of image and logits are interpolated, of one configuration.

    Raises:
        ModelError: for rules that cannot be followed exactly.
    """
    forced = set()
    for what, order in (("data", None), ("probabilities", 1)):
        name = chosen.get(f"resampling_fn_{what}", "resample_data_or_seg_to_shape")
        kwargs = chosen.get(f"resampling_fn_{what}_kwargs", {})
        if name not in _RESAMPLING:
            raise ModelError(f"The model resamples by '{str(name)[:80]}', which flareseg cannot do exactly.")
        if order is not None and kwargs.get("order", order) != order:
            raise ModelError(
                f"The model resamples its output by splines of order {kwargs['order']}; flareseg by 1 only."
            )
        if kwargs.get("order_z", 0) != 0 or kwargs.get("mode", "linear") != "linear":
            raise ModelError("The model resamples between slices by other than the nearest; flareseg cannot do that.")
        if kwargs.get("separate_z_anisotropy_threshold", ANISOTROPY_THRESHOLD) != ANISOTROPY_THRESHOLD:
            raise ModelError(
                "The model has an anisotropy threshold of its own for resampling; flareseg has nnU-Net's 3."
            )
        # nnU-Net's own default differs from that of its planner, which always writes the key.
        forced.add(kwargs.get("force_separate_z", False if name == "resample_data_or_seg_to_shape" else None))
    if len(forced) > 1:
        raise ModelError("The model resamples image and output by different rules, which flareseg cannot do.")
    rules: dict[Any, ResamplingRule] = {None: "auto", False: "isotropic", True: "separate_z"}
    return rules[forced.pop()]


def _image_order(chosen: dict[str, Any]) -> int:
    name = chosen.get("resampling_fn_data", "resample_data_or_seg_to_shape")
    return int(chosen.get("resampling_fn_data_kwargs", {}).get("order", _RESAMPLING[name]))


def _configuration(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """One configuration, with what it inherits."""
    every = plans["configurations"]
    chain: list[dict[str, Any]] = []
    seen: set[str] = set()
    parent: Any = name
    while parent is not None:
        if parent in seen or parent not in every:
            raise ModelError(f"The model's plans.json has no configuration '{str(parent)[:80]}' that can be resolved.")
        seen.add(parent)
        chain.append(every[parent])
        parent = every[parent].get("inherits_from")
    merged: dict[str, Any] = {}
    for part in reversed(chain):
        merged |= part
    return merged


def _check_kind(chosen: dict[str, Any], name: str) -> None:
    if chosen.get("previous_stage"):
        raise ModelError(f"'{name}' is the second step of a cascade; flareseg runs single nets: {_alternatives()}.")
    if len(chosen["patch_size"]) != 3:
        raise ModelError(f"'{name}' is a 2-D configuration; flareseg runs 3-D ones: {_alternatives()}.")
    preprocessor = chosen.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise ModelError(
            f"The model prepares images by '{str(preprocessor)[:80]}'; flareseg knows DefaultPreprocessor."
        )


def _alternatives() -> str:
    return " or ".join(CONFIGURATIONS)


def _intensity(plans: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    schemes, masks = chosen["normalization_schemes"], chosen.get("use_mask_for_norm", [False])
    if len(schemes) != 1:
        raise ModelError(f"The model takes {len(schemes)} images at once; flareseg has one CT.")
    if schemes[0] not in _SCHEMES:
        raise ModelError(f"The model normalises by '{str(schemes[0])[:80]}'; flareseg knows {' and '.join(_SCHEMES)}.")
    scheme = _SCHEMES[schemes[0]]
    properties = plans.get("foreground_intensity_properties_per_channel")
    if properties is None:  # as versions before 2.0.2 called them
        properties = plans["foreground_intensity_properties_by_modality"]
    numbers = properties["0"]
    low, high = float(numbers["percentile_00_5"]), float(numbers["percentile_99_5"])
    if scheme != "ct":
        return {
            # not used, but a plan has them
            "clip_hu": [low, high] if low < high else [0.0, 1.0],
            "mean_hu": float(numbers["mean"]),
            "std_hu": max(float(numbers["std"]), LEAST_STD),
            "scheme": "zscore_nonzero" if masks[0] else "zscore",
        }
    return {
        "clip_hu": [low, high],
        "mean_hu": float(numbers["mean"]),
        "std_hu": max(float(numbers["std"]), LEAST_STD),
    }


def _orientation(plans: dict[str, Any]) -> OrientationRule:
    reader = plans.get("image_reader_writer", "SimpleITKIO")
    if reader not in _READERS:
        raise ModelError(f"The model reads images by '{str(reader)[:80]}', which are no CTs; flareseg cannot run it.")
    return _READERS[reader]


def _architecture(chosen: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Class and arguments of the network, as newer plans have them."""
    if "architecture" in chosen:
        architecture = chosen["architecture"]
        return architecture["network_class_name"], dict(architecture["arch_kwargs"])
    kind, counts = chosen["UNet_class_name"], chosen["n_conv_per_stage_encoder"]
    if len(counts) > MOST_STAGES:
        raise ValueError(f"{len(counts)} stages")
    base, most = int(chosen["UNet_base_num_features"]), int(chosen["unet_max_num_features"])
    arguments = {new: chosen[old] for old, new in _OLD_KEYS.items()}
    arguments["n_stages"] = len(counts)
    arguments["features_per_stage"] = [min(base * 2**stage, most) for stage in range(len(counts))]
    arguments["n_blocks_per_stage" if _NETWORKS.get(str(kind)) else "n_conv_per_stage"] = counts
    return kind, arguments


def _check_argument(network: str, key: str, value: Any, sizes: set[str]) -> None:
    """Refuse an argument that would make the network another one."""
    if key in sizes or key in _UNUSED:
        return
    if key in _SAME:
        if str(value).rpartition(".")[2] in _SAME[key]:
            return
    elif key in _DEFAULTS:
        if value == _DEFAULTS[key] or key == "squeeze_excitation_reduction_ratio":
            return
    elif key == "norm_op_kwargs":
        if value.get("eps", 1e-5) == 1e-5 and value.get("affine") is True and set(value) <= {"eps", "affine"}:
            return
    elif key == "nonlin_kwargs" and (
        value is None or (value.get("negative_slope", 0.01) == 0.01 and set(value) <= {"inplace", "negative_slope"})
    ):
        return
    raise ModelError(f"The model's {network} has {key[:40]} = {str(value)[:80]}, which flareseg does not build.")


def _each(values: Any, count: int) -> list[Any]:
    """One value per stage; nnU-Net takes a single number for all."""
    result = [values] * count if isinstance(values, int) else list(values)
    if len(result) != count:
        raise ValueError(f"{len(result)} values for {count} stages")
    return result


def _triple(value: Any) -> list[int]:
    if isinstance(value, int):
        return [value] * 3
    z, y, x = (int(size) for size in value)
    return [z, y, x]
