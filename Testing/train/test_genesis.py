"""Each corruption does what Model Genesis says, to a whole batch, the same for the same seed."""

import numpy as np
import pytest
import torch

from train.augmentation.model_genesis import bezier_table, corrupted, in_paint, out_paint, recoloured, shuffled
from train.fit_config import CorruptConfig

ALWAYS = CorruptConfig(nonlinear=1.0, local_shuffle=1.0, paint=1.0, inpaint=0.5)
NEVER = CorruptConfig(nonlinear=0.0, local_shuffle=0.0, paint=0.0, inpaint=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def volume():
    """Every voxel another value, rising along every axis."""
    return torch.linspace(0, 1, 24 * 30 * 36).reshape(24, 30, 36)


def bernstein(inner, t):
    """The curve by its definition: binomials times control points."""
    points = np.array([[0.0, 0.0], *inner.tolist(), [1.0, 1.0]])
    weights = [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3]
    return sum(weight * point for weight, point in zip(weights, points, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_the_bezier_curve_of_its_points(seed):
    inner = torch.rand(2, 2, generator=generator(seed)).sort(dim=0).values
    table = bezier_table(inner, inverted=False).numpy()
    for t in np.linspace(0, 1, 41):
        x, y = bernstein(inner, t)
        assert np.interp(x, np.linspace(0, 1, len(table)), table) == pytest.approx(y, abs=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_curves_are_monotone_from_corner_to_corner(seed):
    inner = torch.rand(2, 2, generator=generator(seed)).sort(dim=0).values
    rising, falling = bezier_table(inner, inverted=False), bezier_table(inner, inverted=True)
    assert (rising.diff() >= -1e-6).all()
    assert (rising[0], rising[-1]) == pytest.approx((0, 1), abs=1e-5)
    assert torch.allclose(falling, 1 - rising)


def test_about_half_of_the_curves_are_inverted(volume):
    falls = [bool(recoloured(volume, generator(seed))[-1, -1, -1] < 0.5) for seed in range(60)]
    assert 18 <= sum(falls) <= 42


def test_recolouring_depends_on_the_intensity_alone():
    image = torch.rand(8, 9, 10, generator=generator(1)).round(decimals=1)
    result = recoloured(image, generator(2))
    for value in image.unique():
        assert result[image == value].std() < 1e-6


def one_by_one(volume, rng, windows=10_000):
    """Local shuffling as it is published: window after window, each of what the image was."""
    result = volume.copy()
    for _ in range(windows):
        size = [int(rng.integers(1, edge // 10 + 1)) for edge in volume.shape]
        first = [int(rng.integers(0, edge - part + 1)) for edge, part in zip(volume.shape, size, strict=True)]
        box = tuple(slice(start, start + part) for start, part in zip(first, size, strict=True))
        result[box] = rng.permutation(volume[box].ravel()).reshape(size)
    return result


def test_shuffling_changes_as_many_voxels_as_the_published_way():
    image = torch.rand(64, 64, 32, generator=generator(1))
    theirs = float((one_by_one(image.numpy(), np.random.default_rng(0)) != image.numpy()).mean())
    ours = [float((shuffled(image, generator(seed)) != image).float().mean()) for seed in range(6)]
    assert 0.74 < theirs < 0.8
    assert sum(ours) / len(ours) == pytest.approx(theirs, abs=0.04)
    assert min(ours) > 0.6


@pytest.mark.parametrize("seed", range(6))
def test_shuffling_takes_values_from_near_by(volume, seed):
    result = shuffled(volume, generator(seed))
    assert set(result.flatten().tolist()) <= set(volume.flatten().tolist())
    moved = (result != volume).nonzero()
    came_from = torch.stack(torch.unravel_index((result * (volume.numel() - 1)).round().long(), volume.shape), dim=-1)
    distance = (came_from[tuple(moved.T)] - moved).abs().amax(0)
    assert 0.3 < len(moved) / volume.numel() < 0.9
    assert (distance <= torch.tensor([3, 3, 4])).all()  # a tenth of the edges, at least two voxels


def test_a_single_slice_is_shuffled_and_a_single_voxel_stays(volume):
    assert not torch.equal(shuffled(volume[:1], generator()), volume[:1])
    assert torch.equal(shuffled(volume[:1, :1, :1], generator()), volume[:1, :1, :1])


@pytest.mark.parametrize("seed", range(8))
def test_in_painting_hides_little_and_out_painting_most(seed):
    image = torch.full((28, 35, 42), 2.0)  # no noise is 2
    inside, outside = image.clone(), image.clone()
    in_paint(inside, generator(seed))
    out_paint(outside, generator(seed))
    assert 0 < float((inside != 2).float().mean()) < 5 / 27 + 0.05
    assert 0.2 < float((outside != 2).float().mean()) < 1
    kept = (outside == 2).nonzero()
    assert (kept.amax(0) - kept.amin(0) + 1 >= torch.tensor([12, 15, 18])).all()  # at least 3/7 of the edges
    hidden = inside[inside != 2]
    assert hidden.min() >= 0
    assert hidden.max() <= 1
    assert hidden.std() > 0.2  # noise, not a constant


def test_a_batch_is_corrupted_image_by_image_and_stays_itself():
    batch = torch.rand(3, 1, 20, 24, 28, generator=generator(3))
    before = batch.clone()
    first, second = corrupted(batch, ALWAYS, generator(4)), corrupted(batch, ALWAYS, generator(4))
    assert torch.equal(batch, before)
    assert torch.equal(first, second)
    assert not torch.equal(first, corrupted(batch, ALWAYS, generator(5)))
    assert first.shape == batch.shape
    assert first.min() >= 0
    assert first.max() <= 1
    errors = (first - batch).abs().mean(dim=(1, 2, 3, 4))
    assert len(set(errors.tolist())) == 3


def test_what_has_no_chance_never_happens():
    batch = torch.rand(2, 1, 16, 16, 16, generator=generator(3))
    assert all(torch.equal(corrupted(batch, NEVER, generator(seed)), batch) for seed in range(10))


def test_each_corruption_comes_as_often_as_configured():
    batch = torch.rand(200, 1, 12, 12, 12, generator=generator(3))
    half = CorruptConfig(nonlinear=0.0, local_shuffle=0.5, paint=0.0)
    changed = (corrupted(batch, half, generator(6)) != batch).flatten(1).any(1)
    assert 0.4 < float(changed.float().mean()) < 0.6
