"""From a plan to a network: MONAI's DynUNet, which with these settings is nnU-Net's plain convolutional U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flareseg.errors import ModelError
from flareseg.model.plan import NetworkSpec, Plan

if TYPE_CHECKING:
    import torch
    from torch import nn

# What a network may ask for, far above any that is used: a hostile plan must not make us allocate without end.
LEAST_STAGES, MOST_STAGES, MOST_FILTERS, LARGEST_KERNEL, LARGEST_STRIDE = 3, 8, 2048, 7, 4
SHARED = "skip_layers."
"""DynUNet registers its layers a second time under this prefix; those entries are the same tensors."""


def dynunet_spec(
    filters: list[int], kernels: list[int | list[int]] | None = None, strides: list[int | list[int]] | None = None
) -> NetworkSpec:
    """The specification of a U-Net with one stage per entry of `filters`.

    Args:
        filters: channels per stage, full resolution first.
        kernels: kernel size per stage; 3 everywhere unless given.
        strides: stride per stage; 1, then 2 at every further stage, unless given.
    """
    stages = len(filters)
    return NetworkSpec(
        name="DynUNet",
        kwargs={
            "filters": list(filters),
            "kernel_size": kernels or [3] * stages,
            "strides": strides or [1] + [2] * (stages - 1),
        },
    )


def build_network(plan: Plan, deep_supervision_heads: int = 0, outputs: int | None = None) -> nn.Module:
    """A DynUNet with one input channel (HU, normalised), randomly initialised.

    Args:
        plan: its `network` gives filters, kernel sizes and strides.
        deep_supervision_heads: extra outputs at lower resolutions, used in training only.
        outputs: output channels; `plan.classes` unless given.

    Raises:
        ModelError: for another network, or arguments that DynUNet does not take.
    """
    from monai.networks.nets.dynunet import DynUNet

    filters, kernels, strides = _stages(plan.network)
    try:
        return DynUNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=outputs or plan.classes,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=filters,
            norm_name=("INSTANCE", {"affine": True, "eps": 1e-5}),
            act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
            deep_supervision=deep_supervision_heads > 0,
            deep_supr_num=max(deep_supervision_heads, 1),
            trans_bias=True,
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise ModelError(f"The model's network cannot be built: {error}") from None


def own_weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict's tensors, each once."""
    return {name: value for name, value in state.items() if SHARED not in name}


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Copy `weights`, as `own_weights` gives them and of any precision, into a network that `build_network` made."""
    missing, surplus = network.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.startswith(SHARED)]
    if missing or surplus:
        raise ModelError(f"The weights do not fit the network: {(missing + surplus)[0]}.")


def parameter_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that `build_network(plan)` has, found without building it.

    Loading MONAI takes seconds, which a start with an already compiled network does not need to spend.

    Raises:
        ModelError: as `build_network`.
    """
    filters, kernels, strides = _stages(plan.network)
    last = len(filters) - 1
    shapes: dict[str, tuple[int, ...]] = {}

    def block(prefix: str, channels_in: int, channels: int, kernel: list[int]) -> None:
        shapes[f"{prefix}.conv1.conv.weight"] = (channels, channels_in, *kernel)
        shapes[f"{prefix}.conv2.conv.weight"] = (channels, channels, *kernel)
        for norm in ("norm1", "norm2"):
            shapes[f"{prefix}.{norm}.weight"] = shapes[f"{prefix}.{norm}.bias"] = (channels,)

    for stage, (channels, kernel) in enumerate(zip(filters, kernels, strict=True)):
        name = {0: "input_block", last: "bottleneck"}.get(stage, f"downsamples.{stage - 1}")
        block(name, filters[stage - 1] if stage else 1, channels, kernel)
    for up, stage in enumerate(range(last, 0, -1)):
        below, channels = filters[stage], filters[stage - 1]
        shapes[f"upsamples.{up}.transp_conv.conv.weight"] = (below, channels, *strides[stage])
        shapes[f"upsamples.{up}.transp_conv.conv.bias"] = (channels,)
        block(f"upsamples.{up}.conv_block", 2 * channels, channels, kernels[stage])
    shapes["output_block.conv.conv.weight"] = (plan.classes, filters[0], 1, 1, 1)
    shapes["output_block.conv.conv.bias"] = (plan.classes,)
    return shapes


def _stages(spec: NetworkSpec) -> tuple[list[int], list[list[int]], list[list[int]]]:
    """Filters, kernels and strides per stage, checked; sizes as one number per axis."""
    if spec.name != "DynUNet":
        raise ModelError(f"The model's network is '{spec.name}'; flareseg builds 'DynUNet' only.")
    if set(spec.kwargs) != {"filters", "kernel_size", "strides"}:
        raise ModelError(
            f"The model's network has the arguments {sorted(spec.kwargs)}, expected filters, kernel_size, strides."
        )
    filters, kernels, strides = (spec.kwargs[name] for name in ("filters", "kernel_size", "strides"))
    if not all(isinstance(values, list) for values in (filters, kernels, strides)):
        raise ModelError("The model's network needs lists of filters, kernel sizes and strides.")
    if not LEAST_STAGES <= len(filters) <= MOST_STAGES or not len(filters) == len(kernels) == len(strides):
        raise ModelError(
            f"The model's network has {len(filters)} stages; {LEAST_STAGES} to {MOST_STAGES} are possible, "
            "with a kernel size and a stride for each."
        )
    if not all(_is_count(value, MOST_FILTERS) for value in filters):
        raise ModelError(f"The model's network has filters {filters}; 1 to {MOST_FILTERS} are possible.")
    kernels, strides = [_per_axis(value) for value in kernels], [_per_axis(value) for value in strides]
    if not all(_is_count(size, LARGEST_KERNEL) and size % 2 for kernel in kernels for size in kernel):
        raise ModelError(f"The model's network has kernels {kernels}; odd sizes up to {LARGEST_KERNEL} are possible.")
    if not all(_is_count(size, LARGEST_STRIDE) for stride in strides for size in stride) or strides[0] != [1, 1, 1]:
        raise ModelError(
            f"The model's network has strides {strides}; the first must be 1, others 1 to {LARGEST_STRIDE}."
        )
    return filters, kernels, strides


def _per_axis(value: Any) -> list[Any]:
    return value if isinstance(value, list) and len(value) == 3 else [value] * 3


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
