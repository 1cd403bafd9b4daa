"""The losses that the nets minimise.

`dice_and_cross_entropy` is for partly labelled cases. No public data set annotates every structure, so 0 in a case's
labels means "none of the structures that this case annotates": background or any other. The loss must not punish a
liver found in a case whose liver is not annotated. Therefore, where the label is 0, the probabilities of background and
of all unannotated structures are added up and the sum is what should be 1 (the marginal loss of Shi et al., Medical
Image Analysis 2021; a masked loss would throw the voxel away, with what it says about the annotated structures). Voxels
of 255 do not count. Where everything is annotated it is equations 2 and 4 of the paper: soft Dice plus cross entropy.

An adrenal gland is a ten-thousandth of a patch. While its probability is near 0, the gradient of Dice vanishes and that
of a plain mean is drowned, so a short training never finds it; voxels of small structures may therefore weigh more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from train.data.index import IGNORE


def dice_and_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor, largest_weight: float = 1.0
) -> torch.Tensor:
    """Mean cross entropy plus (1 - mean soft Dice), both over what is known; a scalar, computed in fp32.

    Args:
        logits: (batch, channels, z, y, x).
        labels: (batch, z, y, x) integers, channel numbers; 255 is unknown. A voxel labelled with a structure counts as
            that structure even where `known` lacks it (an implanted lesion where tumours are not annotated).
        known: (batch, channels) bool, which structures the case annotates.
        largest_weight: a structure that fills the share s of the batch's voxels weighs sqrt(0.05 / s) in the cross
            entropy, at least 1 and at most this.
    """
    channels = logits.shape[1]
    logp = F.log_softmax(logits.float().flatten(2), dim=1)
    target = labels.flatten(1).long()
    valid = target != IGNORE
    target = torch.where(valid, target, 0)
    unknown = ~known.clone()
    unknown[:, 0] = True
    if bool(known[:, 1:].all()):
        background = logp[:, 0]
    else:
        hidden = torch.zeros_like(known, dtype=logp.dtype).masked_fill(~unknown, -torch.inf)
        background = torch.logsumexp(logp + hidden[:, :, None], dim=1)
    chosen = logp.gather(1, target[:, None])[:, 0]
    log_likelihood = torch.where(target == 0, background, chosen)
    importance = torch.ones(channels, device=logits.device)
    if largest_weight > 1:
        count = _counts(target, valid, channels).sum(0).clamp(min=1)
        importance = (0.05 * valid.sum() / count).sqrt().clamp(1.0, largest_weight)
        importance[0] = 1.0
    cross_entropy = -(log_likelihood * importance[target] * valid).sum() / valid.sum().clamp(min=1)

    # Soft Dice per structure over the whole batch, of the cases that annotate it.
    p = logp.exp()
    weight = valid.to(p.dtype)
    predicted = torch.einsum("bcn,bn->bc", p, weight)
    chance = chosen.exp() * weight
    hit = torch.stack([(chance * (target == channel)).sum(1) for channel in range(channels)], dim=1)
    true = _counts(target, valid, channels).to(p.dtype)
    counted = known[:, 1:].to(p.dtype)
    hit, predicted, true = ((x[:, 1:] * counted).sum(0) for x in (hit, predicted, true))
    dice = (2 * hit + 1) / (predicted + true + 1)
    scored = counted.any(0) & ((true > 0) | (predicted > 1))
    return cross_entropy + 1 - (dice * scored).sum() / scored.sum().clamp(min=1)


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
