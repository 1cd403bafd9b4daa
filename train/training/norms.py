"""Instance norms as a CPU computes them fastest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from flareseg.inference.runtime import replace_norms


class PatchNorm(nn.InstanceNorm3d):
    """Instance norm computed as a batch norm of each patch, with the same result.

    For instance norm, torch converts channels-last tensors back and forth; for batch norm it does not. On a CPU without
    bf16 the conversion takes a sixth of a training step with batch size 1, and a quarter with batch size 2.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(n, channels, z, y, x) to the same shape."""
        patches = [
            F.batch_norm(patch, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for patch in input.split(1)
        ]
        return patches[0] if len(patches) == 1 else torch.cat(patches)


def use_patch_norms(network: nn.Module) -> None:
    """Replace all instance norms of `network`, in place; parameters stay the same objects."""
    replace_norms(network, lambda norm: PatchNorm(norm.num_features, eps=norm.eps, affine=norm.affine))
