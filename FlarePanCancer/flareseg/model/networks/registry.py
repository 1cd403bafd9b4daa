"""The network of a plan: every architecture that flareseg can build, and what is asked of all of them alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from flareseg.errors import ModelError
from flareseg.model.networks.architecture import Architecture
from flareseg.model.networks.dynunet import DynUNetArchitecture
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.networks.unet import UNetArchitecture

if TYPE_CHECKING:
    import torch
    from torch import nn

_ROWS: tuple[Architecture, ...] = (
    DynUNetArchitecture(),
    UNetArchitecture(),
)
ARCHITECTURES = {row.name: row for row in _ROWS}


class Planned(Protocol):
    """What is needed of a `Plan`."""

    @property
    def network(self) -> NetworkSpec: ...

    @property
    def classes(self) -> int: ...


def architecture_of(spec: NetworkSpec) -> Architecture:
    """The architecture that a specification names.

    Raises:
        ModelError: when there is none of that name.
    """
    if spec.name not in ARCHITECTURES:
        *others, last = (f"'{name}'" for name in ARCHITECTURES)
        known = f"{', '.join(others)} and {last}"
        raise ModelError(f"The model's network is '{spec.name}'; flareseg builds {known} only.")
    return ARCHITECTURES[spec.name]


def build_network(plan: Planned, deep_supervision_heads: int = 0, outputs: int | None = None) -> nn.Module:
    """The network in torch with one input channel (HU, normalised), randomly initialised.

    Args:
        plan: its `network` says which, and how large.
        deep_supervision_heads: extra outputs at lower resolutions, used in training only.
        outputs: output channels; `plan.classes` unless given.

    Raises:
        ModelError: for a network that is not known, or arguments that it does not take.
    """
    return architecture_of(plan.network).build(plan.network, outputs or plan.classes, deep_supervision_heads)


def training_outputs(plan: Planned, network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """Logits of a network that `build_network(plan)` made: full resolution first, then those of its deep supervision
    heads, finest first."""
    return architecture_of(plan.network).training_outputs(network, image)


def parameter_shapes(plan: Planned) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that `build_network(plan)` has, found without building it.

    Raises:
        ModelError: as `build_network`.
    """
    return architecture_of(plan.network).shapes(plan.network, plan.classes)


def own_weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict's tensors, each once."""
    repeated = [prefix for row in ARCHITECTURES.values() for prefix in row.repeated]
    return {name: value for name, value in state.items() if not any(prefix in name for prefix in repeated)}


def is_for_training(name: str) -> bool:
    """Whether a tensor of that name serves training only."""
    return any(name.startswith(row.training_only) for row in ARCHITECTURES.values())


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Copy `weights`, as `own_weights` gives them and of any precision, into a network that `build_network` made."""
    missing, surplus = network.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not any(name.startswith(row.repeated) for row in ARCHITECTURES.values())]
    if missing or surplus:
        raise ModelError(f"The weights do not fit the network: {(missing + surplus)[0]}.")
