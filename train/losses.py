"""Dice + cross entropy for partly labelled cases.

No public data set annotates all 14 structures, so 0 in a case's labels means "none of the structures that this case
annotates": background or any other. The loss must not punish a liver found in a case in which nobody drew livers.
Therefore, where the label is 0, the probabilities of background and of all unannotated structures are added up and the
sum is what should be 1 (the marginal loss of Shi et al., Medical Image Analysis 2021). Voxels of 255 do not count.

An adrenal gland is a ten-thousandth of a patch. While its probability is near 0, the gradient of Dice vanishes and that
of a plain mean is drowned, so a short training never finds it; voxels of small structures therefore weigh more.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

IGNORE = 255


def dice_and_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor, largest_weight: float = 10.0
) -> torch.Tensor:
    """Mean cross entropy plus (1 - mean soft Dice), both over what is known; a scalar, computed in fp32.

    Args:
        logits: (batch, classes, z, y, x).
        labels: (batch, z, y, x) integers; 255 is unknown. A voxel labelled with a structure counts as that structure
            even where `known` lacks it (an implanted lesion in a case whose own tumours nobody drew).
        known: (batch, classes) bool, which structures the case annotates.
        largest_weight: a structure that fills the share s of the batch's voxels weighs sqrt(0.05 / s) in the cross
            entropy, at least 1 and at most this.
    """
    batch, classes = logits.shape[:2]
    logp = F.log_softmax(logits.float().flatten(2), dim=1)
    target = labels.flatten(1).long()
    valid = target != IGNORE
    target = torch.where(valid, target, 0)
    allowed = ~known.clone()
    allowed[:, 0] = True
    if bool(known[:, 1:].all()):
        background = logp[:, 0]
    else:
        hidden = torch.zeros_like(known, dtype=logp.dtype).masked_fill(~allowed, -torch.inf)
        background = torch.logsumexp(logp + hidden[:, :, None], dim=1)
    chosen = logp.gather(1, target[:, None])[:, 0]
    log_likelihood = torch.where(target == 0, background, chosen)
    count = torch.bincount(target[valid], minlength=classes).clamp(min=1)
    importance = (0.05 * valid.sum() / count).sqrt().clamp(1.0, largest_weight)
    importance[0] = 1.0
    cross_entropy = -(log_likelihood * importance[target] * valid).sum() / valid.sum().clamp(min=1)

    # Soft Dice per structure over the whole batch, of the cases that annotate it.
    p = logp.exp()
    weight = valid.to(p.dtype)
    predicted = torch.einsum("bcn,bn->bc", p, weight)
    slots = (target + classes * torch.arange(batch, device=target.device)[:, None]).flatten()
    true = torch.zeros(batch * classes, dtype=p.dtype, device=p.device)
    hit = true.index_add(0, slots, (chosen.exp() * weight).flatten()).view(batch, classes)
    true = true.index_add(0, slots, weight.flatten()).view(batch, classes)
    counted = known[:, 1:].to(p.dtype)
    hit, predicted, true = ((x[:, 1:] * counted).sum(0) for x in (hit, predicted, true))
    dice = (2 * hit + 1) / (predicted + true + 1)
    scored = counted.any(0) & ((true > 0) | (predicted > 1))
    return cross_entropy + 1 - (dice * scored).sum() / scored.sum().clamp(min=1)
