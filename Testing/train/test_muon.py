"""Muon takes a step along all directions of a kernel, and learns from few of them."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_fit import SETTINGS, run, small_work

from train.training.checkpoints import LOG
from train.training.muon import Muon, is_matrix, orthogonal


@pytest.mark.parametrize("shape", [(16, 432), (32, 32), (64, 8)])
def test_singular_values_are_brought_near_one(shape):
    left, right = (torch.linalg.qr(torch.randn(side, min(shape)))[0] for side in shape)
    spread = torch.logspace(-1.5, 0, min(shape))
    values = torch.linalg.svdvals(orthogonal(left * spread @ right.T * 100))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_the_iteration_on_the_product_is_that_on_the_matrix():
    matrix = torch.randn(24, 200) * torch.logspace(-2, 0, 24)[:, None]
    a, b, c = 3.4445, -4.7750, 2.0315  # as Jordan et al. write it
    expected = matrix / matrix.norm()
    for _ in range(5):
        product = expected @ expected.T
        expected = a * expected + (b * product + c * product @ product) @ expected
    assert torch.allclose(orthogonal(matrix), expected, atol=1e-5)


def test_what_is_no_matrix_is_adam_s():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    one, other = Muon([ours], lr=0.01, weight_decay=0.5), torch.optim.Adam([theirs], lr=0.01)
    for _ in range(4):
        ours.grad = torch.randn(5)
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert not is_matrix(torch.zeros(1, 16, 1, 1, 1))


def test_a_step_is_as_long_as_adam_s_along_all_directions():
    kernel = torch.nn.Parameter(torch.zeros(16, 8, 3, 3, 3))
    torch.manual_seed(1)
    kernel.grad = torch.randn(16, 1, 1, 1, 1) * torch.randn(1, 8, 3, 3, 3) + 0.1 * torch.randn(kernel.shape)
    Muon([kernel], lr=0.001).step()
    assert kernel.square().mean().sqrt().item() == pytest.approx(0.2 * 0.001, rel=0.2)
    values = torch.linalg.svdvals(kernel.detach().flatten(1))
    assert values.min() > 0.4 * values.max()  # of the gradient: below 0.1


def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_stopped():
    def net():
        torch.manual_seed(2)
        return torch.nn.Sequential(torch.nn.Conv3d(2, 6, 3), torch.nn.ReLU(), torch.nn.Conv3d(6, 1, 1))

    def steps(network, optimizer, seeds):
        for seed in seeds:
            optimizer.zero_grad()
            inputs = torch.randn(1, 2, 5, 5, 5, generator=torch.Generator().manual_seed(seed))
            network(inputs).square().mean().backward()
            optimizer.step()

    whole, stopped, resumed = net(), net(), net()
    before = whole[0].weight.clone()
    steps(whole, Muon(whole.parameters(), lr=0.01), range(6))
    first = Muon(stopped.parameters(), lr=0.01)
    steps(stopped, first, range(3))
    resumed.load_state_dict(stopped.state_dict())
    second = Muon(resumed.parameters(), lr=0.01)
    second.load_state_dict(first.state_dict())
    steps(resumed, second, range(3, 6))
    assert not torch.equal(whole[0].weight, before)
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_fit_learns_with_it(tmp_path):
    run(small_work(tmp_path / "fit", settings=replace(SETTINGS, optimizer="muon")))
    with (tmp_path / "fit" / LOG).open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.7 * losses[0]
