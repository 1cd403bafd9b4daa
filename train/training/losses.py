"""Losses beside `dice_and_cross_entropy.py`: at every resolution, of a student, and the counts behind a Dice score."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from train.data.index import IGNORE


def deep_supervision_loss(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], outputs: Sequence[torch.Tensor], labels: torch.Tensor
) -> torch.Tensor:
    """Deep supervision: the mean of the loss at every resolution, each of half the weight of the finer one.

    Args:
        loss: of (logits, labels).
        outputs: logits, full resolution first.
        labels: (batch, z, y, x) uint8; sampled at the middle of the coarser voxels.
    """
    total, weights = torch.zeros((), device=labels.device), 0.0
    for depth, logits in enumerate(outputs):
        coarse = labels
        if logits.shape[2:] != labels.shape[1:]:
            coarse = F.interpolate(labels[:, None], size=logits.shape[2:], mode="nearest-exact")[:, 0]
        total = total + loss(logits, coarse) / 2**depth
        weights += 1 / 2**depth
    return total / weights


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence from the teacher's answer, mean over voxels; a scalar in fp32.

    Args:
        logits, teacher: (batch, channels, z, y, x).
    """
    ours = F.log_softmax(logits.float().flatten(2), dim=1)
    theirs = F.log_softmax(teacher.float().flatten(2), dim=1)
    return F.kl_div(ours, theirs, reduction="sum", log_target=True) / (ours.shape[0] * ours.shape[2])


def dice_counts(
    logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per channel: voxels right, predicted and true among those that are known; to be added up over patches.

    A structure's predictions do not count where it is not annotated.
    """
    channels = logits.shape[1]
    target = labels.flatten(1).long()
    valid = target != IGNORE
    target = torch.where(valid, target, 0)
    best = logits.flatten(2).argmax(1)
    counts = (
        _counts(target, valid & (best == target), channels),
        _counts(best, valid, channels),
        _counts(target, valid, channels),
    )
    right, predicted, true = ((count * known).sum(0) for count in counts)
    return right, predicted, true


def _counts(values: torch.Tensor, counted: torch.Tensor, channels: int) -> torch.Tensor:
    """(batch, channels): how often each value occurs where `counted`; (batch, n) both.

    By comparison, one channel after the other: a scatter of millions of equal indices waits for itself on a GPU.
    """
    return torch.stack([((values == channel) & counted).sum(1) for channel in range(channels)], dim=1)
