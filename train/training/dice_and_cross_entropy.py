"""The loss of segmentation: Dice and cross entropy for cases that are annotated in part.

No public data set annotates every structure, so 0 in a case's labels means "none of the structures that this case
annotates": background or any other. A liver found in a case whose liver is not annotated is no error. Therefore,
where the label is 0, the probabilities of background and of all unannotated structures are added up and the sum is
what should be 1 (the marginal loss of Shi et al., Medical Image Analysis 2021; a masked loss would ignore the voxel,
and with it what is known of the annotated structures). Voxels of 255 do not count. Where everything is annotated this
is equations 2 and 4 of the paper: soft Dice plus cross entropy.

An adrenal gland is a ten-thousandth of a patch. While its probability is near 0, the gradient of Dice vanishes and
that of a plain mean is tiny, so a short training never finds it; voxels of small structures may therefore weigh more.

The gradient is written out, block by block. Left to autograd, every intermediate of fifteen channels would be an
array of its own in main memory, which took a third of a training step on a CPU; a block goes from logits to sums, and
in the backward pass from logits to their gradient, within the cache.

Dice is that of the whole batch, also where its patches are on several ranks: these add up their sums, a few numbers a
channel, so that two ranks with a patch each learn what one with both does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from train.data.index import IGNORE

CPU_BLOCK, GPU_BLOCK = 2**15, 2**22
"""Voxels at a time: what stays in a core's cache, and what a GPU needs to be busy."""
SMALL = 0.05
"""Share of the voxels below which a structure counts as small."""


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
    loss: torch.Tensor = _Loss.apply(logits, labels, known, largest_weight)
    return loss


@dataclass(frozen=True)
class _Block:
    """Some voxels of one patch.

    Attributes:
        logits: (channels, voxels) fp32.
        where: their place: of the patch, and in its flattened voxels.
        target: (channels, voxels) fp32, 1 for the label's channel; unknown voxels have none.
        valid: (voxels) fp32, 0 for unknown voxels.
        hidden: (channels) bool, what a background voxel may be: background, or what the case does not annotate.
    """

    logits: torch.Tensor
    where: tuple[int, slice]
    target: torch.Tensor
    valid: torch.Tensor
    hidden: torch.Tensor

    def log_probabilities(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(channels, voxels) of every channel, and (voxels) of all that a background voxel may be."""
        logp = F.log_softmax(self.logits, dim=0)
        several = int(self.hidden.sum()) > 1
        return logp, logp[self.hidden].logsumexp(0) if several else logp[0]


@dataclass(frozen=True)
class _Sums:
    """Over the voxels of each patch, (batch, channels) fp32: of probabilities, of those that are right, of labels, and
    of log-likelihoods by label."""

    predicted: torch.Tensor
    hit: torch.Tensor
    true: torch.Tensor
    log_likelihood: torch.Tensor


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor, largest_weight: float
    ) -> torch.Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            sums = _sums(logits, labels, known)
            counted = known.float()
            counted[:, 0] = 0
            parts = [(part * counted).sum(0) for part in (sums.hit, sums.predicted, sums.true)]
            totals = torch.stack([*parts, counted.sum(0), sums.true.sum(0), sums.log_likelihood.sum(0)])
            ctx.ranks = _add_over_ranks(totals)
            hit, predicted, true, patches, every, log_likelihood = totals
            valid = every.sum().clamp(min=1)
            importance = _importance(every, valid, largest_weight)
            cross_entropy = -(log_likelihood * importance).sum() / valid
            # a structure that is absent and hardly predicted is not scored
            scored = ((patches > 0) & ((true > 0) | (predicted > 1))).float()
            share = scored / scored.sum().clamp(min=1)
            union = predicted + true + 1
            dice = (2 * hit + 1) / union
        ctx.save_for_backward(logits, labels, known, importance / valid)
        # of 1 - dice, by the sums of each patch: of probabilities, and of right ones
        ctx.slopes = (share * dice / union * counted, -2 * share / union * counted)
        return cross_entropy + 1 - (dice * share).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, labels, known, weights = ctx.saved_tensors
        by_predicted, by_hit = ctx.slopes
        gradient = torch.empty_like(logits)
        flat = gradient.flatten(2)
        with torch.autocast(logits.device.type, enabled=False):
            for block in _blocks(logits, labels, known):
                number, voxels = block.where
                logp, background = block.log_probabilities()
                p = logp.exp()
                # soft Dice, by the probabilities, then through the softmax
                slope = (block.target * by_hit[number][:, None]).add_(by_predicted[number][:, None]).mul_(block.valid)
                slope.sub_((slope * p).sum(0)).mul_(p)
                # cross entropy: probabilities minus what they should be
                weight = weights @ block.target
                should = block.target.clone()
                should[block.hidden] = torch.where(
                    block.target[0] > 0, (logp[block.hidden] - background).exp(), should[block.hidden]
                )
                slope.add_(p.sub_(should).mul_(weight))
                # the mean over the ranks is taken of it, but the loss is one of all patches together
                flat[number, :, voxels] = slope.mul_(grad_loss * ctx.ranks)
        return gradient, None, None, None


def _sums(logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor) -> _Sums:
    batch, channels = logits.shape[:2]
    total = logits.new_zeros((4, batch, channels), dtype=torch.float32)
    for block in _blocks(logits, labels, known):
        logp, background = block.log_probabilities()
        p = logp.exp()
        chosen = (block.target * p).sum(0)
        # not as a product with all channels, where 0 times -inf would be no number
        log_likelihood = torch.where(block.target > 0, logp, 0).sum(0)
        log_likelihood = torch.where(block.target[0] > 0, background, log_likelihood)
        total[0, block.where[0]] += p @ block.valid
        total[1:, block.where[0]] += torch.stack([chosen, block.valid, log_likelihood]) @ block.target.T
    return _Sums(*total)


def _add_over_ranks(totals: torch.Tensor) -> int:
    """Add up the tensor over the ranks that train together, in place; returns how many these are."""
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    dist.all_reduce(totals)
    return dist.get_world_size()


def _importance(count: torch.Tensor, valid: torch.Tensor, largest_weight: float) -> torch.Tensor:
    """(channels) fp32: weight of a voxel of each in the cross entropy."""
    importance = torch.ones_like(count)
    if largest_weight > 1:
        importance = (SMALL * valid / count.clamp(min=1)).sqrt().clamp(1.0, largest_weight)
        importance[0] = 1.0
    return importance


def _blocks(logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor) -> Iterator[_Block]:
    size = CPU_BLOCK if logits.device.type == "cpu" else GPU_BLOCK
    channels = torch.arange(logits.shape[1], device=logits.device, dtype=labels.dtype)[:, None]
    voxels = logits.flatten(2)
    for number, flat in enumerate(labels.flatten(1)):
        hidden = ~known[number]
        hidden[0] = True
        for start in range(0, len(flat), size):
            part = slice(start, start + size)
            target = (flat[part] == channels).float()
            yield _Block(
                logits=voxels[number, :, part].float().contiguous(),
                where=(number, part),
                target=target,
                valid=(flat[part] != IGNORE).float(),
                hidden=hidden,
            )
