"""What flareseg asks of a network architecture. Each is a subclass in a file of its own, and a row in `registry.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from flareseg.errors import ModelError
from flareseg.model.networks.layers import Layers, X
from flareseg.model.networks.spec import NetworkSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


class Architecture(ABC):
    """One kind of network. The names of tensors are those in the state dict of what `build` returns.

    Attributes:
        name: what plans call it.
        head: its last layer, a 1×1×1 convolution to the classes.
        repeated: prefixes of tensors that its state dict holds a second time.
        training_only: prefixes of tensors that only training uses.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    repeated: ClassVar[tuple[str, ...]] = ()
    training_only: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def shapes(self, spec: NetworkSpec, outputs: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of a network with `outputs` classes, each once, without building it.

        Raises:
            ModelError: when the specification makes no sense, or asks for more than any network needs.
        """

    @abstractmethod
    def build(self, spec: NetworkSpec, outputs: int, deep_supervision_heads: int = 0) -> nn.Module:
        """The network in torch, randomly initialised: (n, 1, z, y, x) to (n, outputs, z, y, x).

        Args:
            deep_supervision_heads: extra outputs at lower resolutions, for training only.

        Raises:
            ModelError: as `shapes`, and when it has no such heads.
        """

    def training_outputs(self, network: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits of what `build` returned: full resolution, then those of its deep supervision heads, finest first.

        Args:
            image: (n, 1, z, y, x).
        """
        return [network(image)]

    def computed(self, spec: NetworkSpec, layers: Layers[X], window: X) -> X:
        """What `build` computes from `window`, by layers that are not torch's. Without it the network runs in torch.

        Raises:
            NotImplementedError: when nobody has written it.
        """
        raise NotImplementedError(f"flareseg has the network '{self.name}' in torch only")

    def nnunet_names(self, spec: NetworkSpec) -> Iterator[tuple[str, str]]:
        """nnU-Net's and our name of every tensor, where nnU-Net has such a network.

        Raises:
            ModelError: when it has none.
        """
        raise ModelError(f"nnU-Net has no network of the kind '{self.name}'.")

    def model_format(self, spec: NetworkSpec) -> int:
        """The oldest format of model.json (see `bundle.py`) that can hold it: 2 for all but the first networks."""
        return 2
