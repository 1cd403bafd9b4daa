"""`recipe: nnunet` draws and does what nnU-Net's default trainer does, as recorded from version 2.8.1 by
Testing/benchmarks/record_nnunet_augmentation.py."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flareseg.errors import UsageError
from train.augmentation import nnunet
from train.augmentation.dataset import Oversampling, PatchDataset, to_batch
from train.augmentation.pipeline import NOTHING
from train.augmentation.spatial import read_patch
from train.config_file import load_config
from train.fit_config import AugmentConfig, NnunetAugmentConfig
from train.net_config import NetConfig

RECORDED = json.loads((Path(__file__).parent / "data" / "nnunet_augmentation.json").read_text(encoding="utf-8"))
CONFIG = Path(__file__).parents[2] / "train" / "configs" / "nnunet.yaml"
DRAWS, SPACING = 2000, (1.5, 1.5, 1.5)
OURS = NnunetAugmentConfig()
NEVER = replace(
    OURS, **{name: 0.0 for name, value in asdict(OURS).items() if isinstance(value, float) and value <= 0.5}
)
"""None of the changes; angles and ratios, which are above, stay."""
STRENGTHS = ("noise", "blur", "brightness", "contrast", "low_resolution", "inverted_gamma", "gamma")


def the_recorded_image():
    z, y, x = np.meshgrid(*map(np.arange, (5, 6, 7)), indexing="ij")
    return torch.from_numpy((np.sin(0.9 * z + 0.4 * y * x) + np.cos(1.7 * x - y)).astype(np.float32))


def assert_drawn_alike(values, recorded):
    """As often, but for the chance of two draws of thousands, and as strong."""
    assert len(values) / DRAWS == pytest.approx(recorded["share"], abs=0.03)
    quantiles = np.quantile(values, np.linspace(0, 1, 11))
    extent = recorded["quantiles"][-1] - recorded["quantiles"][0]
    np.testing.assert_allclose(quantiles, recorded["quantiles"], atol=0.12 * extent)


@pytest.mark.parametrize("kind", RECORDED["patches"])
def test_patches_are_turned_scaled_and_mirrored_as_often_and_as_far(kind):
    recorded = RECORDED["patches"][kind]
    rng, angles, scales, flips = np.random.default_rng(0), [], [], []
    for _ in range(DRAWS):
        pose = nnunet.draw_pose(SPACING, SPACING, tuple(recorded["patch"]), OURS, rng)
        flips.append(pose.flipped)
        matrix = pose.matrix * np.where(pose.flipped, -1, 1)
        flat = kind == "anisotropic"
        if flat:  # a slice stays in its plane
            assert matrix[0].tolist() == [1, 0, 0] and matrix[1:, 0].tolist() == [0, 0]
            matrix = matrix[1:, 1:]
        scale = np.linalg.det(matrix) ** (1 / len(matrix))
        cosine = np.trace(matrix / scale) / 2 if flat else (np.trace(matrix / scale) - 1) / 2
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        angles += [angle] if angle > 1e-3 else []
        scales += [scale] if abs(scale - 1) > 1e-6 else []
    assert_drawn_alike(angles, recorded["rotation"])
    assert_drawn_alike(scales, recorded["scaling"])
    np.testing.assert_allclose(np.mean(flips, axis=0), recorded["mirror"], atol=0.05)


@pytest.mark.parametrize("kind", RECORDED["patches"])
@pytest.mark.parametrize("name", STRENGTHS)
def test_intensities_change_as_often_and_as_much(kind, name, monkeypatch):
    recorded, drawn = RECORDED["patches"][kind], []

    def keep(image, strength, *axes):
        drawn.append(float(np.ravel(strength)[-1]))
        assert [*axes] == [] or ([*axes[0]] == ([1, 2] if kind == "anisotropic" else [0, 1, 2]))
        return image

    for changed in ("blurred", "with_contrast", "coarsened", "with_gamma"):
        monkeypatch.setattr(nnunet, changed, keep)
    config = replace(NEVER, **{name: getattr(OURS, name)})
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    shape = recorded["patch"] if name != "noise" else (4, 24, 24)  # its strength is seen in the image
    for _ in range(DRAWS):
        image = torch.ones(shape if name in ("noise", "low_resolution") else (2, 2, 2))
        after = nnunet.change_intensities(image, config, rng, generator)
        if name == "noise" and float(after.std()) > 0:
            drawn.append(float(after.std()))
        if name == "brightness" and float(after[0, 0, 0]) != 1:
            drawn.append(float(after[0, 0, 0]))
    assert_drawn_alike(drawn, recorded[name])


def test_single_changes_give_nnunets_image():
    what = {"blur": nnunet.blurred, "contrast": nnunet.with_contrast, "low_resolution": nnunet.coarsened}
    what |= {"gamma": nnunet.with_gamma, "inverted_gamma": lambda image, power: -nnunet.with_gamma(-image, power)}
    for title, expected in RECORDED["effects"].items():
        name, *words = title.split()
        numbers = [float(word) for word in words if word[0].isdigit()]
        given = [numbers] if name == "blur" else numbers
        given += [range(1, 3) if "slices" in words else range(3)] if name == "low_resolution" else []
        found = what[name](the_recorded_image(), *given)
        np.testing.assert_allclose(found.ravel().numpy(), expected, atol=3e-5, err_msg=title)


def test_gamma_keeps_mean_and_deviation_and_moves_dark_and_bright_apart():
    before = the_recorded_image()
    for gamma in (0.7, 1.5):
        after = nnunet.with_gamma(before.clone(), gamma)
        assert float(after.mean()) == pytest.approx(float(before.mean()), abs=1e-5)
        assert float(after.std()) == pytest.approx(float(before.std()), rel=1e-4)
        assert bool((after.ravel()[before.ravel().argsort()].diff() >= 0).all())
    assert torch.equal(nnunet.with_gamma(torch.full((3, 3, 3), 2.0), 0.7), torch.full((3, 3, 3), 2.0))


def test_as_many_patches_of_a_step_are_sure_to_show_a_structure():
    for fraction, counts in RECORDED["oversampled"].items():
        for size, count in enumerate(counts, 1):
            rule = Oversampling(size, float(fraction))
            sure = [rule.chance(3 * size + number) for number in range(size)]
            assert sure == [0.0] * (size - count) + [1.0] * count


def test_the_outputs_of_a_net_weigh_as_in_nnunet():
    """What is left without its lowest output, which nnU-Net weighs 0: three extra outputs of six stages."""
    for stages, weights in RECORDED["loss_weights"].items():
        ours = np.array([0.5**depth for depth in range(int(stages) - 2)])
        np.testing.assert_allclose([*ours / ours.sum(), 0.0], weights, atol=1e-7)
    nets = load_config(CONFIG, ["sources.flare23.path=."]).nets
    assert all(net.deep_supervision == len(net.filters) - 3 for net in nets.values())


class Case:
    """A case in memory whose liver, of 100 HU, is one voxel beside its spleen."""

    name, spacing_zyx_mm, known = "case", SPACING, np.ones(15, bool)
    shape_zyx = (12, 20, 24)

    def __init__(self):
        self.values = np.zeros(self.shape_zyx, np.uint8)
        self.values[5, 9, 11], self.values[2:4, 2:6, 2:6] = 2, 3
        self.centres = {2: np.array([[5, 9, 11]])}

    def hu(self, box):
        return np.ascontiguousarray(self.values[box].astype(np.int16) * 50)

    def labels(self, box):
        return np.ascontiguousarray(self.values[box])


def dataset_of(augment, **more):
    net = NetConfig(SPACING, (4, 8, 8), [4, 8, 8], clip_hu=(-100.0, 200.0), mean_hu=0.0, std_hu=50.0)
    numbers = {"foreground": 0.33, "seed": 2, "length": 400, "finished": True} | more
    return PatchDataset([Case()], [1.0], net, net.plan(), augment, **numbers)


def test_sure_patches_have_the_structure_in_their_middle_and_none_ends_beyond_the_case():
    dataset, middle = dataset_of(NOTHING, oversampling=Oversampling(2, 0.33)), 0
    for index in range(60):
        labels = dataset[index].labels
        assert not bool((labels == 255).any())
        if index % 2:
            assert int(labels[2, 4, 4]) == 2
        middle += int(labels[2, 4, 4]) == 2
    assert 30 <= middle < 35


def test_mirrored_sides_are_swapped_with_what_is_known_of_them():
    config = AugmentConfig(recipe="nnunet", nnunet=replace(NEVER, mirror=0.5))
    dataset, seen = dataset_of(config, oversampling=Oversampling(1, 1.0)), set()
    for index in range(20):
        patch = dataset[index]
        (bright,) = torch.nonzero((patch.image[0] - 2).abs() < 1e-5).tolist()
        seen.add(int(patch.labels[tuple(bright)]))
    assert seen == {2, 13}  # the right kidney, or the left one


def test_patches_are_normalised_before_their_intensities_change_and_labels_are_none_of_it():
    strong = replace(NEVER, brightness=1.0, brightness_range=(1.25, 1.25))
    plain, bright = (
        dataset_of(AugmentConfig(recipe="nnunet", nnunet=config), oversampling=Oversampling(1, 1.0))[3]
        for config in (NEVER, strong)
    )
    assert torch.equal(plain.labels, bright.labels)
    assert float(plain.image.max()) == 2.0 and torch.allclose(bright.image, 1.25 * plain.image)


def test_all_of_it_gives_the_same_patch_in_a_worker_and_on_the_device():
    augment = AugmentConfig(recipe="nnunet")
    finished, raw = dataset_of(augment), dataset_of(augment, finished=False)
    net = NetConfig(SPACING, (4, 8, 8), [4, 8, 8], clip_hu=(-100.0, 200.0), mean_hu=0.0, std_hu=50.0)
    for index in range(12):
        batch = to_batch([raw[index]], net, net.plan(), augment, torch.device("cpu"))
        assert torch.equal(batch["image"][0], finished[index].image)
        assert torch.equal(batch["labels"][0], finished[index].labels)
        assert bool(torch.isfinite(batch["image"]).all())


def test_a_slice_that_is_turned_in_its_plane_stays_one_slice():
    hu = torch.arange(12, dtype=torch.int16)[:, None, None].expand(12, 40, 40) * 10
    config = replace(OURS, rotation=1.0, scaling=1.0, mirror=0.0)
    pose = nnunet.draw_pose(SPACING, SPACING, (4, 16, 16), config, np.random.default_rng(3))
    pose = pose.at(np.array([6.3, 20, 20]), (4, 16, 16))
    image, _ = read_patch(hu, None, pose, (4, 16, 16))
    inside = image[:, 4:12, 4:12]
    assert torch.allclose(inside, inside[:, :1, :1].expand_as(inside), atol=0.05)
    assert torch.allclose(inside[:, 0, 0], torch.tensor([50.0, 60.0, 70.0, 80.0]), atol=0.05)


def test_the_configuration_is_nnunets_and_says_which_words_do_not_fit(tmp_path):
    path = f"sources.flare23.path={tmp_path}"
    config = load_config(CONFIG, [path])
    for name in ("tumor", "final"):
        fit = config.fits[name]
        assert fit.augment.recipe == "nnunet" and fit.augment.nnunet == OURS
        assert (fit.foreground, fit.foreground_rule, fit.validation_patches, fit.validation_memory) == (
            0.33, "nnunet", 100, 0.9,
        )  # fmt: skip
        assert (fit.optimizer, fit.momentum, fit.weight_decay, fit.gradient_clip) == ("sgd", 0.99, 3e-5, 12.0)
    for words, reason in (
        ("fits.final.augment.nnunet={mirror: 0}", "its net has mirror_axes"),
        ("fits.final.augment.flip=0.5", "augment.nnunet.mirror"),
        ("fits.final.augment.recipe=own", "its net has mirror_axes"),
        ("fits.final.augment.nnunet={gamma: 1.5}", "gamma cannot be 1.5"),
        ("fits.final.augment.nnunet={gamma: .nan}", "gamma cannot be nan"),
        ("fits.final.augment.nnunet={gamma_range: [1.5, 0.7]}", "gamma_range is no range"),
        ("fits.final.augment.nnunet={scaling_range: [0, 1]}", "scaling_range is no range"),
        ("fits.final.augment.nnunet={blur_voxels: [1, .inf]}", "blur_voxels is no range"),
        ("fits.final.augment.nnunet={blurr: 1}", "unknown key 'blurr'"),
        ("fits.final.validation_memory=1", "validation_memory"),
    ):
        with pytest.raises(UsageError, match=reason):
            load_config(CONFIG, [path, words])
    with pytest.raises(UsageError, match="only"):
        load_config(CONFIG.with_name("paper.yaml"), [path, "fits.final.augment.nnunet={gamma: 0.5}"])
