"""Augmentation changes the patient and the scanner, never what is what."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool3d

from flareseg.model.network import dynunet_spec
from flareseg.model.plan import Intensity, Plan
from train.augment import augmented_patch, change_contrast, cut_field_of_view, implant_lesion
from train.config import AugmentConfig

SPACE_ONLY = AugmentConfig(organ_hu=0, phase=0, lesion=0, field_of_view=0, blur=0, low_resolution=0, noise_hu=0)
SPACING = (3.0, 3.0, 3.0)
PATCH = (24, 32, 40)


@pytest.fixture
def plan():
    return Plan(
        spacing_zyx_mm=SPACING,
        patch_zyx=PATCH,
        intensity=Intensity((-1000.0, 1000.0), 0.0, 1.0),
        network=dynunet_spec([4, 8]),
        labels={0: "background", 1: "liver"},
    )


@pytest.fixture
def blocks():
    """A case whose HU is 100 times its label: blocks of 7 voxels, so that few voxels lie between two labels."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 8, (8, 8, 8)).repeat(7, 0).repeat(7, 1).repeat(7, 2).astype(np.uint8)
    return labels.astype(np.int16) * 100, labels


def no_global_change(monkeypatch):
    monkeypatch.setattr("train.augment.change_contrast", lambda image, *_: image)


def test_image_and_labels_stay_aligned(blocks, plan, monkeypatch):
    no_global_change(monkeypatch)
    hu, labels = blocks
    for seed in range(5):
        rng = np.random.default_rng(seed)
        image, target = augmented_patch(hu, labels, SPACING, np.array([28.0, 28, 28]), plan, PATCH, SPACE_ONLY, rng)
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


def test_without_distortion_the_patch_is_the_case_itself(blocks, plan, monkeypatch):
    no_global_change(monkeypatch)
    hu, labels = blocks
    still = replace(SPACE_ONLY, rotation_degrees=[0, 0, 0], scale=0, scale_per_axis=0, elastic_mm=0)
    centre = np.array([27.5, 27.5, 27.5])
    image, target = augmented_patch(hu, labels, SPACING, centre, plan, PATCH, still, np.random.default_rng(0))
    box = tuple(slice(28 - n // 2, 28 + n // 2) for n in PATCH)
    np.testing.assert_array_equal(target, labels[box])
    np.testing.assert_allclose(image, hu[box], atol=0.05)


def test_right_stays_right(plan, monkeypatch):
    no_global_change(monkeypatch)
    labels = np.zeros((56, 56, 56), np.uint8)
    labels[:, :, :28], labels[:, :, 28:] = 2, 13
    for seed in range(20):
        rng = np.random.default_rng(seed)
        centre = np.array([28.0, 28, 28])
        _, target = augmented_patch(labels.astype(np.int16), labels, SPACING, centre, plan, PATCH, SPACE_ONLY, rng)
        x = torch.arange(PATCH[2], dtype=torch.float32).expand(PATCH)
        assert x[target == 2].mean() < x[target == 13].mean()


def test_outside_the_case_is_air_and_unknown(blocks, plan, monkeypatch):
    no_global_change(monkeypatch)
    hu, labels = blocks
    image, target = augmented_patch(
        hu, labels, SPACING, np.array([0.0, 28, 28]), plan, PATCH, SPACE_ONLY, np.random.default_rng(0)
    )
    outside = target == 255
    assert 0.2 < float(outside.float().mean()) < 0.8
    assert float((image[outside] < -900).float().mean()) > 0.8  # but for the border, half a voxel wide


def test_unknown_voxels_of_the_case_stay_unknown(plan, monkeypatch):
    no_global_change(monkeypatch)
    labels = np.full((40, 40, 50), 255, np.uint8)
    centre = np.array([20.0, 20, 25])
    _, target = augmented_patch(
        labels.astype(np.int16), labels, SPACING, centre, plan, PATCH, SPACE_ONLY, np.random.default_rng(0)
    )
    assert bool((target == 255).all())


def test_lesions_lie_in_organs_and_differ_from_them():
    labels = torch.zeros(40, 40, 40, dtype=torch.uint8)
    labels[8:32, 8:32, 8:32] = 1
    changed = 0
    for seed in range(10):
        image = torch.full((40, 40, 40), -500.0)
        image[8:32, 8:32, 8:32] = 100.0
        before = image.clone()
        target = implant_lesion(image, labels, SPACING, np.random.default_rng(seed))
        lesion = target == 14
        assert bool((labels[lesion] == 1).all())  # background here is air, so nothing grows out
        assert bool((image == before)[~lesion].all())
        assert bool((labels == target)[~lesion].all())
        changed += int(lesion.any() and (image - before)[lesion].abs().mean() > 3)
    assert changed >= 9


def test_contrast_changes_organs_apart_and_leaves_the_rest():
    labels = torch.zeros(20, 20, 40, dtype=torch.uint8)
    labels[:, :, 10:20], labels[:, :, 20:30] = 1, 3
    image = torch.where(labels == 0, -100.0, 110.0)
    config = AugmentConfig(phase=1.0, organ_hu=20.0)
    differences = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        result = change_contrast(image.clone(), labels, config, rng)
        differences.append(float(result[:, :, 15].mean() - result[:, :, 25].mean()))
    assert np.std(differences) > 10


def test_a_cut_field_of_view_is_air_and_unknown_on_one_side():
    image, labels = torch.zeros(30, 30, 30), torch.ones(30, 30, 30, dtype=torch.uint8)
    cut_field_of_view(image, labels, np.random.default_rng(3))
    assert bool(((labels == 255) == (image < -1000)).all())
    assert 0 < int((labels == 255).sum()) < labels.numel() // 2 + 1


def test_the_same_seed_gives_the_same_patch(blocks, plan):
    hu, labels = blocks
    first, second = (
        augmented_patch(hu, labels, SPACING, np.full(3, 28.0), plan, PATCH, AugmentConfig(), np.random.default_rng(7))
        for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
