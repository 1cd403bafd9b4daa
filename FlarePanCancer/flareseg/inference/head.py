"""The last layer of a network with many classes, applied as late as possible.

A network of 118 classes computes the 118 logits of a voxel from 32 features by a 1×1×1 convolution, its head. That is
linear, and the weights of overlapping windows add up to 1; so the blend of the windows' features, sent through the
head, is the blend of the windows' logits. Therefore features are blended, and all classes exist for a few slices at a
time only, when labels are made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from flareseg.model.networks.registry import architecture_of
from flareseg.model.plan import Plan
from flareseg.volume import Index

SLAB_BYTES = 2**26
"""Of logits at a time."""
VOXELS_AT_ONCE = 2**11
"""Whose logits are in the cache of a CPU while the highest are found."""


@dataclass(frozen=True)
class Head:
    """A 1×1×1 convolution.

    Attributes:
        name: of its layer.
        weight: (classes, features) fp32.
        bias: (classes) fp32.
    """

    name: str
    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def worth_cutting(cls, plan: Plan, weights: dict[str, torch.Tensor]) -> Head | None:
        """The head of a network that has more classes than features; None where nothing would be saved."""
        name = architecture_of(plan.network).head
        weight = weights.get(f"{name}.weight")  # one that is missing is reported by who builds the network
        if weight is None or weight.shape[0] <= weight.shape[1]:
            return None
        classes, features = weight.shape[:2]
        return cls(name, weight.float().reshape(classes, features), weights[f"{name}.bias"].float())

    def cut_off(self, plan: Plan, weights: dict[str, torch.Tensor]) -> tuple[Plan, dict[str, torch.Tensor]]:
        """The network with a head that hands on every feature as it is."""
        features = self.weight.shape[1]
        identity = torch.eye(features).reshape(features, features, 1, 1, 1)
        handing_on = {f"{self.name}.weight": identity, f"{self.name}.bias": torch.zeros(features)}
        return replace(plan, labels={number: f"feature {number}" for number in range(features)}), weights | handing_on


class LazyLogits:
    """Logits that are computed when they are asked for.

    Args:
        features: (features, z, y, x), of any float type, anywhere.
        head: from features to classes.
    """

    def __init__(self, features: torch.Tensor, head: Head) -> None:
        self._features, self._head = features, head
        self._weight, self._bias = (part.to(features.device) for part in (head.weight, head.bias))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(classes, z, y, x)."""
        _, z, y, x = self._features.shape
        return len(self._bias), z, y, x

    @property
    def device(self) -> torch.device:
        return self._features.device

    def cpu(self) -> LazyLogits:
        return LazyLogits(self._features.cpu(), self._head)

    def slices(self, part: slice) -> torch.Tensor:
        """(classes, z, y, x) fp32 logits of some slices."""
        features = self._features[:, part]
        flat = features.reshape(len(features), -1).float()
        return torch.addmm(self._bias[:, None], self._weight, flat).reshape(-1, *features.shape[1:])

    def winners(self, part: slice) -> torch.Tensor:
        """(z, y, x) uint8 classes with the highest logits in some slices, the first of equals; on the CPU.

        Voxels by classes, and few enough voxels to stay in the cache: so the product is a matrix's, and each voxel's
        classes lie in a row.
        """
        features = self._features[:, part]
        flat = features.reshape(len(features), -1)
        labels = torch.empty(flat.shape[1], dtype=torch.uint8)
        for start in range(0, len(labels), VOXELS_AT_ONCE):
            block = slice(start, start + VOXELS_AT_ONCE)
            logits = torch.addmm(self._bias, flat[:, block].float().T, self._weight.T)
            # numpy's is several times as fast as torch's
            labels[block] = torch.from_numpy(logits.numpy().argmax(1).astype(np.uint8))
        return labels.reshape(features.shape[1:])

    @property
    def slices_at_once(self) -> int:
        """How many slices are worked on at a time."""
        classes, _, y, x = self.shape
        return max(1, SLAB_BYTES // (4 * classes * y * x))


Logits = torch.Tensor | LazyLogits
"""(classes, z, y, x), all of them at hand or not."""


def at_hand(logits: Logits) -> torch.Tensor:
    """All of them."""
    return logits.slices(slice(None)) if isinstance(logits, LazyLogits) else logits


def slabs_of(logits: Logits, size: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """Slices and their (classes, z, y, x) logits, `size` slices at a time."""
    for start in range(0, logits.shape[1], size):
        part = slice(start, start + size)
        yield part, logits.slices(part) if isinstance(logits, LazyLogits) else logits[:, part]


def grid_of(logits: Logits) -> Index:
    """(z, y, x) of the network's grid."""
    _, z, y, x = logits.shape
    return z, y, x
