"""From a plan to a network: MONAI's DynUNet, which with these settings is nnU-Net's plain convolutional U-Net, or a
`UNet` of our own where DynUNet has no such blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flareseg.errors import ModelError
from flareseg.model.networks.checks import Sizes, checked_kernels, checked_stages
from flareseg.model.networks.unet import NAME as UNET
from flareseg.model.networks.unet import unet_shapes
from flareseg.model.plan import NetworkSpec, Plan
from flareseg.system.private_imports import import_monai

if TYPE_CHECKING:
    import torch
    from torch import nn

NORM = ("INSTANCE", {"affine": True, "eps": 1e-5})
ACTIVATION = ("leakyrelu", {"inplace": True, "negative_slope": 0.01})
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
    """The network with one input channel (HU, normalised), randomly initialised.

    Args:
        plan: its `network` gives filters, kernel sizes and strides; "up_kernel_size", where a DynUNet has it, those of
            the decoder's steps, deepest first.
        deep_supervision_heads: extra outputs at lower resolutions, used in training only.
        outputs: output channels; `plan.classes` unless given.

    Raises:
        ModelError: for another network, or arguments that it does not take.
    """
    if plan.network.name == UNET:
        from flareseg.model.networks.unet_torch import build_unet

        return build_unet(plan.network, outputs or plan.classes, deep_supervision_heads)
    import_monai()
    from monai.networks.nets.dynunet import DynUNet

    filters, kernels, strides, ups = _stages(plan.network)
    try:
        network = DynUNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=outputs or plan.classes,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=filters,
            norm_name=NORM,
            act_name=ACTIVATION,
            deep_supervision=deep_supervision_heads > 0,
            deep_supr_num=max(deep_supervision_heads, 1),
            trans_bias=True,
        )
        _exchange_kernels(network, kernels, ups)
        return network
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
    if plan.network.name == UNET:
        return unet_shapes(plan.network, plan.classes)
    filters, kernels, strides, up_kernels = _stages(plan.network)
    last = len(filters) - 1
    shapes: dict[str, tuple[int, ...]] = {}

    def block(prefix: str, channels_in: int, channels: int, kernel: Sizes) -> None:
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
        block(f"upsamples.{up}.conv_block", 2 * channels, channels, up_kernels[up])
    shapes["output_block.conv.conv.weight"] = (plan.classes, filters[0], 1, 1, 1)
    shapes["output_block.conv.conv.bias"] = (plan.classes,)
    return shapes


def _stages(spec: NetworkSpec) -> tuple[list[int], list[Sizes], list[Sizes], list[Sizes]]:
    """Of a DynUNet: filters, kernel sizes and strides per stage, and kernel sizes of the decoder, deepest first."""
    if spec.name != "DynUNet":
        raise ModelError(f"The model's network is '{spec.name}'; flareseg builds 'DynUNet' and '{UNET}' only.")
    if set(spec.kwargs) - {"up_kernel_size"} != {"filters", "kernel_size", "strides"}:
        raise ModelError(
            f"The model's network has the arguments {sorted(spec.kwargs)}, expected filters, kernel_size, strides."
        )
    filters, kernels, strides = checked_stages(spec)
    ups = kernels[:0:-1]
    if "up_kernel_size" in spec.kwargs:
        given = spec.kwargs["up_kernel_size"]
        if not isinstance(given, list) or len(given) != len(ups):
            raise ModelError(f"The model's network needs {len(ups)} kernel sizes for its decoder.")
        ups = checked_kernels(given)
    return filters, kernels, strides, ups


def _exchange_kernels(network: nn.Module, kernels: list[Sizes], ups: list[Sizes]) -> None:
    """Give the decoder's blocks the kernels of `ups`; DynUNet itself takes those of the stage below."""
    from monai.networks.blocks.dynunet_block import UnetBasicBlock
    from monai.networks.nets.dynunet import DynUNet

    below = kernels[:0:-1]
    for layer, own, wanted in zip(network.upsamples, below, ups, strict=True):  # type: ignore[arg-type]
        if own != wanted:
            block = layer.conv_block
            channels = block.conv2.conv.out_channels
            new = UnetBasicBlock(3, 2 * channels, channels, wanted, 1, NORM, ACTIVATION)
            layer.conv_block = new.apply(DynUNet.initialize_weights)
