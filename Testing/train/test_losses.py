"""The loss counts what is annotated and nothing else."""

import math

import pytest
import torch

from train.data.index import IGNORE
from train.training import dice_and_cross_entropy as module
from train.training.dice_and_cross_entropy import dice_and_cross_entropy
from train.training.losses import deep_supervision_loss, dice_counts, distillation_loss

LN2, LN3 = math.log(2.0), math.log(3.0)


def case(label_values, probabilities):
    """Logits, labels for a row of voxels; `probabilities` lists one row of class probabilities per voxel."""
    logits = torch.tensor(probabilities).log().T.reshape(1, len(probabilities[0]), 1, 1, len(label_values))
    return logits, torch.tensor(label_values, dtype=torch.uint8).reshape(1, 1, 1, -1)


def test_a_fully_annotated_case_gives_the_value_worked_by_hand():
    # voxel 1 is background (p = 1/2), voxel 2 is structure 1 (p = 1/4); structure 2 occurs nowhere
    logits, labels = case([0, 1], [[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    cross_entropy = (LN2 + 2 * LN2) / 2
    # structure 1: (2 * 0.25 + 1) / (0.5 + 1 + 1); structure 2 is absent and hardly predicted, so it is not scored
    dice = 1.5 / 2.5
    loss = dice_and_cross_entropy(logits, labels, torch.ones(1, 3, dtype=torch.bool))
    assert float(loss) == pytest.approx(cross_entropy + 1 - dice, abs=1e-6)


def test_where_a_structure_is_not_annotated_it_counts_as_background():
    # structure 2 is unknown: at the background voxel 1/3 + 1/3 of the probability is right
    logits, labels = case([0, 1], [[1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3]])
    cross_entropy = (-math.log(2 / 3) + LN3) / 2
    dice = (2 / 3 + 1) / (2 / 3 + 1 + 1)
    loss = dice_and_cross_entropy(logits, labels, torch.tensor([[True, True, False]]))
    assert float(loss) == pytest.approx(cross_entropy + 1 - dice, abs=1e-6)


def test_unknown_voxels_change_nothing_and_get_no_gradient():
    torch.manual_seed(0)
    known = torch.ones(1, 4, dtype=torch.bool)
    labels = torch.randint(0, 4, (1, 2, 3, 4), dtype=torch.uint8)
    labels[0, :, 1] = 255
    logits = torch.randn(1, 4, 2, 3, 4)
    changed = logits.clone()
    changed[:, :, :, 1] += 10 * torch.randn(1, 4, 2, 4)
    logits.requires_grad_()
    loss = dice_and_cross_entropy(logits, labels, known)
    loss.backward()
    assert loss.item() == pytest.approx(dice_and_cross_entropy(changed, labels, known).item())
    assert logits.grad is not None
    assert logits.grad[:, :, :, 1].abs().max() == 0
    assert logits.grad[:, :, :, 0].abs().min() > 0


def test_finding_an_unannotated_structure_in_the_background_costs_nothing():
    labels = torch.zeros(1, 2, 2, 2, dtype=torch.uint8)
    found, missed = torch.zeros(1, 3, 2, 2, 2), torch.zeros(1, 3, 2, 2, 2)
    found[:, 2] = 20.0
    missed[:, 1] = 20.0
    known = torch.tensor([[True, True, False]])
    assert float(dice_and_cross_entropy(found, labels, known)) < 1.1  # no cross entropy; nothing to overlap with
    assert float(dice_and_cross_entropy(missed, labels, known)) > 10


def test_an_implanted_structure_teaches_although_the_case_does_not_annotate_it():
    labels = torch.full((1, 2, 2, 2), 2, dtype=torch.uint8)
    logits = torch.zeros(1, 3, 2, 2, 2, requires_grad=True)
    dice_and_cross_entropy(logits, labels, torch.tensor([[True, True, False]])).backward()
    assert logits.grad is not None
    assert bool((logits.grad[:, 2] < 0).all())
    assert bool((logits.grad[:, 0] > 0).all())


def test_half_precision_logits_are_scored_in_single_precision():
    logits = (10 * torch.randn(1, 15, 4, 4, 4)).bfloat16()
    labels = torch.randint(0, 15, (1, 4, 4, 4), dtype=torch.uint8)
    known = torch.ones(1, 15, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        loss = dice_and_cross_entropy(logits, labels, known)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(dice_and_cross_entropy(logits.float(), labels, known)), rel=1e-6)


def by_autograd(logits, labels, known, largest_weight):
    """The same loss, every step of it left to autograd."""
    logp = logits.double().flatten(2).log_softmax(1)
    target = labels.flatten(1).long()
    valid = (target != IGNORE).double()
    target = target.where(target != IGNORE, torch.zeros_like(target))
    onehot = torch.nn.functional.one_hot(target, logits.shape[1]).movedim(-1, 1) * valid[:, None]
    hidden = ~known
    hidden[:, 0] = True
    background = logp.masked_fill(~hidden[:, :, None], -torch.inf).logsumexp(1)
    chosen = torch.where(target == 0, background, logp.gather(1, target[:, None])[:, 0])
    weight = (0.05 * valid.sum() / onehot.sum((0, 2)).clamp(min=1)).sqrt().clamp(1, largest_weight)
    weight[0] = 1
    cross_entropy = -(chosen * weight[target] * valid).sum() / valid.sum()
    counted = known[:, 1:, None].double()
    p, onehot = logp.exp()[:, 1:] * valid[:, None] * counted, onehot[:, 1:] * counted
    hit, predicted, true = (part.sum((0, 2)) for part in (p * onehot, p, onehot))
    scored = known[:, 1:].any(0) & ((true > 0) | (predicted > 1))
    return cross_entropy + 1 - ((2 * hit + 1) / (predicted + true + 1))[scored].mean()


@pytest.mark.parametrize("largest_weight", [1.0, 10.0])
@pytest.mark.parametrize("missing", [(), (3,), (2, 3)])
def test_loss_and_gradient_are_those_of_autograd_over_several_blocks(monkeypatch, missing, largest_weight):
    monkeypatch.setattr(module, "CPU_BLOCK", 50)
    torch.manual_seed(1)
    labels = torch.randint(0, 5, (2, 4, 6, 9), dtype=torch.uint8)
    labels[labels == 4] = IGNORE
    known = torch.ones(2, 5, dtype=torch.bool)
    known[0, list(missing)] = False
    logits = (3 * torch.randn(2, 5, 4, 6, 9)).to(memory_format=torch.channels_last_3d)
    gradients = []
    for loss_of in (dice_and_cross_entropy, by_autograd):
        leaf = logits.clone().requires_grad_()
        loss = loss_of(leaf, labels, known, largest_weight)
        (2 * loss).backward()
        gradients.append((float(loss.detach()), leaf.grad))
    (ours, our_gradient), (reference, reference_gradient) = gradients
    assert ours == pytest.approx(reference, rel=1e-6)
    torch.testing.assert_close(our_gradient, reference_gradient, rtol=1e-4, atol=1e-8)


def test_an_impossible_label_gives_a_finite_gradient():
    logits = torch.zeros(1, 3, 1, 1, 2, requires_grad=True)
    with torch.no_grad():
        logits[0, 0] = 200.0  # the probability of the others underflows
    dice_and_cross_entropy(logits, torch.tensor([[[[1, 0]]]]).byte(), torch.ones(1, 3, dtype=torch.bool)).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert float(logits.grad[0, 1, 0, 0, 0]) < -0.1


def test_deep_supervision_halves_the_weight_of_every_coarser_answer():
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
    labels[:, :, :, 4:] = 3
    outputs = [torch.zeros(1, 2, size, size, size) for size in (8, 4, 2)]
    seen = []

    def loss(logits, coarse):
        seen.append(coarse)
        return torch.tensor(float(logits.shape[2]))

    assert float(deep_supervision_loss(loss, outputs, labels)) == pytest.approx((8 + 4 / 2 + 2 / 4) / 1.75)
    assert [tuple(coarse.shape[1:]) for coarse in seen] == [(8, 8, 8), (4, 4, 4), (2, 2, 2)]
    for coarse in seen:
        half = coarse.shape[-1] // 2
        assert bool((coarse[..., :half] == 0).all() and (coarse[..., half:] == 3).all())


def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn():
    teacher = torch.randn(2, 5, 3, 4, 5)
    assert float(distillation_loss(teacher + 3, teacher)) == pytest.approx(0, abs=1e-6)  # logits may all shift
    assert float(distillation_loss(-teacher, teacher)) > 0.1


def test_the_score_counts_known_voxels_and_annotated_structures_only():
    labels = torch.tensor([[[[0, 1, 1, 2, 255]]]], dtype=torch.uint8)[0]
    logits = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 2, 1]]), 3).permute(0, 2, 1)[..., None, None] * 9.0
    logits = logits.reshape(1, 3, 1, 1, 5)
    right, predicted, true = dice_counts(logits, labels, torch.tensor([[True, True, True]]))
    assert right.tolist() == [1, 1, 1]
    assert predicted.tolist() == [1, 1, 2]
    assert true.tolist() == [1, 2, 1]
    _, predicted, true = dice_counts(logits, labels, torch.tensor([[True, True, False]]))
    assert (predicted[2].item(), true[2].item()) == (0, 0)
