"""Augmentation changes the patient and the scanner, never what is what."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool3d

from train.augmentation.intensity import (
    OrganValues,
    change_contrast,
    change_organs,
    change_shapes,
    cut_field_of_view,
    degrade,
)
from train.augmentation.lesions import draw_places, implant
from train.augmentation.pipeline import NOTHING, mirrored
from train.augmentation.spatial import draw_pose, read_patch
from train.fit_config import AugmentConfig

SPACING = (3.0, 3.0, 3.0)
PATCH = (24, 32, 40)
MIDDLE = np.array([27.5, 27.5, 27.5])


@pytest.fixture
def blocks():
    """A case whose HU is 100 times its label: blocks of 7 voxels, so that few voxels lie between two labels."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 8, (8, 8, 8)).repeat(7, 0).repeat(7, 1).repeat(7, 2).astype(np.uint8)
    return torch.from_numpy(labels.astype(np.int16) * 100), torch.from_numpy(labels)


def posed(config, seed, centre=MIDDLE, case_spacing=SPACING, patch=PATCH):
    return draw_pose(case_spacing, SPACING, patch, config, np.random.default_rng(seed)).at(centre, patch)


def read(hu, labels, pose, patch=PATCH):
    """Read the way a patch is: only its box of the case."""
    box = pose.box(patch, tuple(hu.shape))
    corner = np.array([part.start for part in box])
    return read_patch(hu[box], labels[box], pose.at(pose.centre_zyx - corner, patch), patch)


@pytest.mark.parametrize("config", [AugmentConfig(), AugmentConfig(flip=0.5)])
def test_image_and_labels_stay_aligned(blocks, config):
    for seed in range(5):
        image, target = read(*blocks, posed(config, seed))
        inside = target != 255
        values = target[None].float()
        # Where all neighbours bear one label, the image has exactly that label's HU (but for a rare corner of a block
        # that slips between two samples); nearest and linear reading agree to half a voxel elsewhere.
        core = max_pool3d(values, 3, 1, 1)[0] == -max_pool3d(-values, 3, 1, 1)[0]
        difference = (image - 100.0 * target).abs()[core & inside]
        assert len(difference) > 500
        assert float((difference < 0.01).float().mean()) > 0.95
        both = (target, target.roll(3, 2))
        exact, shifted = (((image - 100.0 * t).abs()[inside] < 0.01).float().mean() for t in both)
        assert float(shifted) < float(exact) - 0.05


def test_without_augmentation_the_patch_is_the_case_itself(blocks):
    hu, labels = blocks
    image, target = read(hu, labels, posed(NOTHING, 0))
    box = tuple(slice(28 - n // 2, 28 + n // 2) for n in PATCH)
    assert torch.equal(target, labels[box])
    assert torch.equal(image, hu[box].float())


def test_a_crop_beyond_the_border_is_padded_with_air_and_unknown(blocks):
    hu, labels = blocks
    image, target = read(hu, labels, posed(NOTHING, 0, np.array([-0.5, 27.5, 55.5])))
    assert torch.equal(image[12:, :, :20], hu[: PATCH[0] // 2, 12:44, 36:].float())
    assert bool((image[:12] == -1024).all()) and bool((target[:12] == 255).all())
    assert bool((target[:, :, 20:] == 255).all())


def test_the_map_is_the_affine_one_and_a_smooth_displacement_of_the_given_strength():
    grid = torch.stack(torch.meshgrid(*[torch.arange(90.0)] * 3, indexing="ij"))
    still = replace(NOTHING, rotation_degrees=(20.0, 10.0, 10.0), scale=0.2)
    bent = replace(still, elastic_mm=4.0)
    patch, squares = (30, 30, 30), []
    for seed in range(30):
        maps = []
        for config in (still, bent):
            pose = posed(config, seed, np.full(3, 44.5), patch=patch)
            box = pose.box(patch, (90, 90, 90))
            assert all(part.start > 0 and part.stop < 90 for part in box)
            pose = pose.at(pose.centre_zyx - [part.start for part in box], patch)
            maps.append(torch.stack([read_patch(axis[box], None, pose, patch)[0] for axis in grid]))
        p = torch.stack(torch.meshgrid(*[torch.arange(30.0) - 14.5] * 3, indexing="ij"))
        expected = torch.einsum("ij,jzyx->izyx", torch.from_numpy(pose.matrix).float(), p) + 44.5
        assert float((maps[0] - expected).abs().max()) < 1e-3
        moved_mm = (maps[1] - maps[0]) * 3
        squares.append(float(moved_mm.square().mean()))
        assert float(moved_mm.diff(dim=1).abs().max()) < 3  # never as long as a voxel: nothing folds
    # the strength is drawn from 0 to 4 mm: the mean square of such numbers is a third of the largest's
    assert np.sqrt(3 * np.mean(squares)) == pytest.approx(4.0, rel=0.3)


def test_a_case_of_another_spacing_is_read_at_the_nets(blocks):
    hu, labels = blocks
    fine = (labels.repeat_interleave(2, 0), hu.repeat_interleave(2, 0))
    pose = posed(NOTHING, 0, np.array([55.5, 27.5, 27.5]), case_spacing=(1.5, 3.0, 3.0))
    image, target = read(fine[1], fine[0], pose)
    box = tuple(slice(28 - n // 2, 28 + n // 2) for n in PATCH)
    assert torch.equal(target, labels[box])
    assert float((image - hu[box]).abs().max()) < 1  # places are exact to some thousandths of a voxel


def test_a_case_of_one_slice_can_be_read():
    labels = torch.ones(1, 40, 40, dtype=torch.uint8)
    image, target = read(labels.short() * 50, labels, posed(AugmentConfig(), 3, np.array([0.0, 20, 20])))
    assert bool((target == 1).any()) and bool((target == 255).any())
    assert float(image.max()) == pytest.approx(50, abs=2)  # linear between the slice and the air around it


def test_right_stays_right_unless_flipped():
    labels = torch.full((56, 56, 56), 2, dtype=torch.uint8)
    labels[:, :, 28:] = 13
    x = torch.arange(PATCH[2], dtype=torch.float32).expand(PATCH)
    for seed in range(10):
        for flip in (0.0, 1.0):
            _, target = read(labels.short(), labels, posed(replace(AugmentConfig(), flip=flip), seed))
            assert bool(x[target == 2].mean() < x[target == 13].mean()) == (flip == 0)


def test_a_flip_is_drawn_for_each_axis_with_its_probability():
    flips = np.array([posed(replace(NOTHING, flip=0.3), seed).flipped for seed in range(400)])
    np.testing.assert_allclose(flips.mean(0), 0.3, atol=0.07)
    assert abs(np.corrcoef(flips.T)[0, 1]) < 0.2


def test_mirroring_exchanges_right_and_left_kidneys_and_adrenal_glands():
    assert mirrored(np.arange(15)).tolist() == [0, 1, 13, 3, 4, 5, 6, 8, 7, 9, 10, 11, 12, 2, 14]


def test_outside_the_case_is_air_and_unknown(blocks):
    image, target = read(*blocks, posed(AugmentConfig(), 0, np.array([0.0, 28, 28])))
    outside = target == 255
    assert 0.2 < float(outside.float().mean()) < 0.8
    assert float((image[outside] < -900).float().mean()) > 0.8  # but for the border, half a voxel wide


def test_unknown_voxels_of_the_case_stay_unknown():
    labels = torch.full((40, 40, 50), 255, dtype=torch.uint8)
    _, target = read(labels.short(), labels, posed(AugmentConfig(), 0, np.array([20.0, 20, 25])))
    assert bool((target == 255).all())


def test_lesions_lie_in_organs_and_differ_from_them():
    labels = torch.zeros(40, 40, 40, dtype=torch.uint8)
    labels[8:32, 8:32, 8:32] = 1
    changed = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        image = torch.where(labels == 1, 100.0, -500.0)
        before, target = image.clone(), labels.clone()
        places = draw_places({1: np.argwhere(labels.numpy() == 1)}, posed(NOTHING, seed, np.full(3, 20.0)), PATCH, rng)
        implant(image, target, places, np.full(15, 100, np.float32), SPACING, rng)
        lesion = target == 14
        assert bool((labels[lesion] == 1).all())  # background here is air, so nothing grows out
        beside = max_pool3d(lesion[None].float(), 5, 1, 2)[0] > 0
        assert torch.equal(image[~beside], before[~beside])  # the border is a little soft
        assert torch.equal(labels[~lesion], target[~lesion])
        changed += int(lesion.any() and (image - before)[lesion].abs().mean() > 3)
    assert changed >= 9


def test_a_lesion_that_grows_out_of_its_organ_looks_like_tissue_there_too():
    labels = torch.zeros(40, 40, 40, dtype=torch.uint8)
    labels[16:24, 16:24, 16:24] = 4
    grown = 0
    for seed in range(20):
        image, target = torch.where(labels == 4, 90.0, -100.0), labels.clone()
        implant(
            image,
            target,
            np.array([[4, 20, 20, 20]]),
            np.full(15, 90, np.float32),
            SPACING,
            np.random.default_rng(seed),
        )
        outside = (target == 14) & (labels == 0)
        if outside.any():
            grown += 1
            assert float(image[outside].mean()) > -30  # but for a soft border
    assert 2 <= grown <= 12


def test_lesions_are_put_only_where_the_patch_looks_and_only_into_organs_that_bear_them():
    centres = {1: np.array([[5, 5, 5], [50, 50, 50]]), 5: np.array([[50, 50, 50]])}
    rng = np.random.default_rng(0)
    for _ in range(20):
        places = draw_places(centres, posed(AugmentConfig(), 1, np.full(3, 50.0)), PATCH, rng)
        assert 1 <= len(places) <= 3
        assert {tuple(place) for place in places.tolist()} == {(1, 50, 50, 50)}
    assert draw_places({5: centres[5]}, posed(NOTHING, 1, np.full(3, 50.0)), PATCH, rng).shape == (0, 4)


@pytest.fixture
def organs():
    """Liver and spleen of 110 HU in fat, and what is known of them."""
    labels = torch.zeros(20, 20, 40, dtype=torch.uint8)
    labels[:, :, 10:20], labels[:, :, 20:30] = 1, 3
    image = torch.where(labels == 0, -100.0, 110.0)
    return image, labels, OrganValues.of(image.numpy().astype(np.int16), labels.numpy(), enough=500)


def test_organ_values_are_measured_on_a_part_of_the_voxels(organs):
    values = organs[2]
    assert values.mean_hu[[0, 1, 3]].tolist() == [-100, 110, 110]
    assert values.count[1] == pytest.approx(4000, rel=0.3) and values.count[2] == 0


def test_unknown_voxels_count_for_no_organ():
    labels = np.full((10, 10, 10), 255, np.uint8)
    assert OrganValues.of(np.zeros((10, 10, 10), np.int16), labels).count.sum() == 0


def test_contrast_changes_organs_apart_and_leaves_the_rest(organs):
    image, labels, values = organs
    labels[0] = 255
    config = AugmentConfig(phase=1.0, organ_hu=20.0)
    differences = []
    for seed in range(20):
        result = change_organs(image.clone(), labels, values, config, np.random.default_rng(seed))
        differences.append(float(result[5:, :, 15].mean() - result[5:, :, 25].mean()))
        assert torch.equal(result[:, :, :9], image[:, :, :9])
        assert torch.equal(result[0, :, :9], image[0, :, :9])
    assert np.std(differences) > 10


def test_without_organs_in_the_patch_contrast_changes_nothing(organs):
    image, labels, _ = organs
    labels[:] = 255
    values = OrganValues.of(image.numpy().astype(np.int16), labels.numpy())
    result = change_organs(image.clone(), labels, values, AugmentConfig(phase=1.0), np.random.default_rng(0))
    assert torch.equal(result, image)


def test_gamma_keeps_the_ends_of_the_range_and_the_order():
    config = replace(NOTHING, gamma=1.0)
    image = torch.linspace(-300, 400, 8).view(2, 2, 2)
    result = change_contrast(image.clone(), (-200.0, 350.0), config, np.random.default_rng(1)).flatten()
    assert float(result[0]) == pytest.approx(-200) and float(result[-1]) == pytest.approx(350)
    assert bool((result[1:-1].diff() > 0).all())
    assert not torch.allclose(result[2:-2], image.flatten()[2:-2])


def test_grey_values_are_dilated_or_eroded_by_a_ball():
    config = replace(NOTHING, morphology=1.0)
    image = torch.zeros(9, 9, 9)
    image[4, 4, 4], image[0, 0, 0] = 100.0, -100.0
    seen = set()
    for seed in range(10):
        result = change_shapes(image.clone(), SPACING, config, np.random.default_rng(seed))
        seen.add((int((result == 100).sum()), int((result == -100).sum())))
    # a ball of one voxel has 7, of sqrt 2 and more 19 voxels; in the corner 4 and 7 of them are seen
    assert seen <= {(7, 0), (19, 0), (27, 0), (0, 4), (0, 7), (0, 8)} and len(seen) >= 3
    assert image[4, 4, 4] == 100


def test_a_ball_is_round_in_millimetres():
    config = replace(NOTHING, morphology=1.0)
    image = torch.zeros(9, 9, 9)
    image[4, 4, 4] = 100.0
    for seed in range(10):
        result = change_shapes(image.clone(), (2.5, 0.8, 0.8), config, np.random.default_rng(seed))
        assert not bool((result[[0, 1, 2, 3, 5, 6, 7, 8]] == 100).any())


def test_blur_low_resolution_and_noise_keep_the_mean():
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.normal(50, 40, (20, 24, 28)).astype(np.float32))
    for name in ("blur", "low_resolution", "noise"):
        config = replace(NOTHING, **{name: 1.0}, noise_hu=30.0)
        result = degrade(image.clone(), SPACING, config, np.random.default_rng(4), generator)
        assert float(result.mean()) == pytest.approx(50, abs=2)
        deviations = float(result.std()), float(image.std())
        assert deviations[0] > deviations[1] if name == "noise" else deviations[0] < deviations[1]


def test_a_cut_field_of_view_is_air_and_unknown_on_one_side():
    image, labels = torch.zeros(30, 30, 30), torch.ones(30, 30, 30, dtype=torch.uint8)
    cut_field_of_view(image, labels, AugmentConfig(field_of_view=1.0), np.random.default_rng(3))
    assert torch.equal(labels == 255, image < -1000)
    assert 0 < int((labels == 255).sum()) < labels.numel() // 2 + 1
