"""Loss functions.

`dice_and_cross_entropy` handles partially labelled cases. No public data set annotates every structure, so label 0
means background or any structure that is not annotated in this case. The loss must not penalise a predicted liver in a
case without liver annotation. For label 0, the probabilities of background and of all unannotated structures are
therefore summed, with target 1 (the marginal loss of Shi et al., Medical Image Analysis 2021; a masked loss would
discard the voxel, including its information on annotated structures). Voxels of 255 are ignored. For fully annotated
cases it is equations 2 and 4 of the paper: soft Dice plus cross entropy.

An adrenal gland fills about 0.01 % of a patch. While its predicted probability is near 0, the gradient of Dice vanishes
and its share of the mean cross entropy is negligible, so short trainings miss it; small structures can therefore get a
higher weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from train.data.index import IGNORE


def dice_and_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor, largest_weight: float = 1.0
) -> torch.Tensor:
    """Mean cross entropy plus (1 - mean soft Dice) over known voxels and classes; a scalar, computed in fp32.

    Args:
        logits: (batch, channels, z, y, x).
        labels: (batch, z, y, x) integers, channel numbers; 255 is unknown. A voxel labelled with a structure counts as
            that structure even if it is not `known` (a lesion implanted in a case without annotated tumours).
        known: (batch, channels) bool, the annotated structures of each case.
        largest_weight: a structure that fills the fraction s of the batch has the weight sqrt(0.05 / s) in the cross
            entropy, clipped to between 1 and this value.
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

    # Batch Dice per structure, over the cases in which it is annotated.
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
    """Deep supervision: weighted mean of the loss at all resolutions; weights halve with each coarser one.

    Args:
        loss: of (logits, labels).
        outputs: logits, full resolution first.
        labels: (batch, z, y, x) uint8; downsampled by nearest neighbour.
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
    """Kullback-Leibler divergence from the teacher's prediction, mean over voxels; a scalar in fp32.

    Args:
        logits, teacher: (batch, channels, z, y, x).
    """
    ours = F.log_softmax(logits.float().flatten(2), dim=1)
    theirs = F.log_softmax(teacher.float().flatten(2), dim=1)
    return F.kl_div(ours, theirs, reduction="sum", log_target=True) / (ours.shape[0] * ours.shape[2])


def dice_counts(
    logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True positive, predicted and ground-truth voxels per channel, to be summed over patches.

    Unknown voxels, and structures that are not annotated, do not count.
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
    """Histogram of `values` (batch, n) where `counted` (batch, n): (batch, channels).

    One comparison per channel: on a GPU, a scatter of millions of equal indices is serialised.
    """
    return torch.stack([((values == channel) & counted).sum(1) for channel in range(channels)], dim=1)
