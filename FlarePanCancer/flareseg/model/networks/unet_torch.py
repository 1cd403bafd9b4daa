"""The U-Net of `unet_layers.py` in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from flareseg.model.networks.spec import EPSILON, SLOPE, Sizes
from flareseg.model.networks.unet_layers import Block, Convolution, UNetLayers, Up


class UNet(nn.Module):
    """A U-Net with a plain or a residual encoder; windows must be multiples of all its strides."""

    def __init__(self, layers: UNetLayers, outputs: int, deep_heads: int = 0) -> None:
        super().__init__()
        self.stem = _ConvolutionNorm(layers.stem) if layers.stem else None
        self.encoder = nn.ModuleList(nn.ModuleList(_layer(layer) for layer in stage) for stage in layers.encoder)
        self.ups = nn.ModuleList(nn.ConvTranspose3d(u.channels_in, u.channels, u.stride, u.stride) for u in layers.ups)
        self.decoder = nn.ModuleList(_convolutions(up) for up in layers.ups)
        self.head = nn.Conv3d(layers.filters, outputs, 1)
        # for training, finest first
        coarser = list(reversed(layers.ups))[1 : 1 + deep_heads]
        self.deep_heads = nn.ModuleList(nn.Conv3d(up.channels, outputs, 1) for up in coarser)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, 1, z, y, x) to (n, outputs, z, y, x)."""
        logits: torch.Tensor = self.head(self._features(windows)[-1])
        return logits

    def all_outputs(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """Logits at full resolution, then those of the deep supervision heads, finest first."""
        features = self._features(windows)[::-1]
        return [self.head(features[0]), *(head(x) for head, x in zip(self.deep_heads, features[1:], strict=False))]

    def _features(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """What each step of the decoder gives, deepest first; without deep heads that of the last alone."""
        x, skips, found = windows, [], []
        if self.stem is not None:
            x = _active(self.stem(x))
        for stage in self.encoder:
            for layer in stage.children():
                x = _active(layer(x))
            skips.append(x)
        for up, convolutions, skip in zip(self.ups, self.decoder, reversed(skips[:-1]), strict=True):
            x = torch.cat((up(x), skip), 1)
            for layer in convolutions.children():
                x = _active(layer(x))
            if len(self.deep_heads):
                found.append(x)
        return found or [x]


class _ConvolutionNorm(nn.Module):
    def __init__(self, of: Convolution) -> None:
        super().__init__()
        z, y, x = ((size - 1) // 2 for size in of.kernel)
        self.conv = nn.Conv3d(of.channels_in, of.channels, of.kernel, of.stride, (z, y, x), bias=False)
        self.norm = nn.InstanceNorm3d(of.channels, eps=EPSILON, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(self.conv(x))
        return result


class ResidualBlock(nn.Module):
    """What comes before the last non-linearity of a block."""

    def __init__(self, of: Block) -> None:
        super().__init__()
        self.first, self.second = _ConvolutionNorm(of.first), _ConvolutionNorm(of.second)
        self.skip = _ConvolutionNorm(of.skip) if of.skip else None
        self._stride = of.stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beside = _averaged(x, self._stride) if max(self._stride) > 1 else x
        if self.skip is not None:
            beside = self.skip(beside)
        result: torch.Tensor = self.second(_active(self.first(x)))
        return result + beside


def _layer(of: Convolution | Block) -> nn.Module:
    return ResidualBlock(of) if isinstance(of, Block) else _ConvolutionNorm(of)


def _convolutions(up: Up) -> nn.ModuleList:
    layers: Sequence[nn.Module] = [_ConvolutionNorm(convolution) for convolution in up.convolutions]
    return nn.ModuleList(layers)


def _averaged(x: torch.Tensor, stride: Sizes) -> torch.Tensor:
    """Mean of every `stride` voxels; in single precision on the CPU, where torch has no other."""
    if x.device.type == "cpu":
        return F.avg_pool3d(x.float(), stride, stride).to(x.dtype)
    return F.avg_pool3d(x, stride, stride)


def _active(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu_(x, SLOPE)
