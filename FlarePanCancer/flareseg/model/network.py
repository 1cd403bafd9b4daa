"""From a plan to a network: MONAI's DynUNet, which with these settings is nnU-Net's plain convolutional U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flareseg.errors import ModelError
from flareseg.model.plan import NetworkSpec, Plan

if TYPE_CHECKING:
    from torch import nn


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


def build_network(plan: Plan, deep_supervision_heads: int = 0) -> nn.Module:
    """A DynUNet with one input channel (HU, normalised) and `plan.classes` output channels, randomly initialised.

    Args:
        plan: its `network` gives filters, kernel sizes and strides.
        deep_supervision_heads: extra outputs at lower resolutions, used in training only.

    Raises:
        ModelError: for another network, or arguments that DynUNet does not take.
    """
    from monai.networks.nets.dynunet import DynUNet

    spec = plan.network
    if spec.name != "DynUNet":
        raise ModelError(f"The model's network is '{spec.name}'; flareseg builds 'DynUNet' only.")
    unknown = set(spec.kwargs) - {"filters", "kernel_size", "strides"}
    if unknown:
        raise ModelError(f"The model's network has unknown arguments: {', '.join(sorted(unknown))}.")
    try:
        return DynUNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=plan.classes,
            kernel_size=spec.kwargs["kernel_size"],
            strides=spec.kwargs["strides"],
            upsample_kernel_size=spec.kwargs["strides"][1:],
            filters=spec.kwargs["filters"],
            norm_name=("INSTANCE", {"affine": True, "eps": 1e-5}),
            act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
            deep_supervision=deep_supervision_heads > 0,
            deep_supr_num=max(deep_supervision_heads, 1),
            trans_bias=True,
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise ModelError(f"The model's network cannot be built: {error}") from None
