"""The nets that a configuration can name: what they cost, and that they learn."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from small_fit import NET, SETTINGS, run, small_work, task_of

from flareseg.errors import ModelError
from flareseg.inference.sliding import predict
from flareseg.model.networks.registry import build_network, load_weights, training_outputs
from flareseg.model.networks.unet_layers import unet_layers
from flareseg.model.plan import Plan, sides_swapped
from train.augmentation.pipeline import NOTHING
from train.augmentation.spatial import draw_pose
from train.config_file import load_config
from train.net_config import ANY_RANGE
from train.reporting.cost import multiply_adds, parameters
from train.training.checkpoints import averaged_weights
from train.training.initialization import new_network
from train.training.module import initialize_from

CONFIGS = Path(__file__).parents[2] / "train" / "configs"
RESIDUAL = replace(NET, blocks=[1, 2, 1])


def test_the_papers_nets_cost_what_its_table_4_says(tmp_path):
    nets = load_config(CONFIGS / "paper.yaml", [f"sources.flare23.path={tmp_path}"]).nets
    final = nets["final"].plan(ANY_RANGE)
    assert multiply_adds(final) / 1e9 == pytest.approx(727.76, rel=0.01)
    assert parameters(final) / 1e6 == pytest.approx(71.02, rel=0.01)
    tumour = nets["tumor"].plan(ANY_RANGE)
    assert multiply_adds(tumour) / 1e9 == pytest.approx(913.4, rel=0.005)
    assert parameters(tumour) / 1e6 == pytest.approx(88.21, rel=0.005)
    as_monai = replace(nets["final"], decoder_kernels=None).plan(ANY_RANGE)
    assert multiply_adds(as_monai) / multiply_adds(final) == pytest.approx(1.2, abs=0.01)


def test_a_decoder_has_the_kernels_that_it_is_given():
    thin = replace(NET, kernels=[[1, 3, 3], 3, 3])
    shape = {"own": (3, 3, 3), "nnunet": (1, 3, 3)}
    for name, kernels in {"own": None, "nnunet": "nnunet"}.items():
        network = build_network(replace(thin, decoder_kernels=kernels).plan())
        assert network.upsamples[1].conv_block.conv1.conv.weight.shape[2:] == shape[name]
    listed = build_network(replace(thin, decoder_kernels=[1, 5]).plan())
    assert [up.conv_block.conv2.conv.kernel_size for up in listed.upsamples] == [(5, 5, 5), (1, 1, 1)]


@pytest.mark.parametrize("kernels", [[3], [3, 2], ["x", 3]])
def test_kernels_that_no_decoder_has_are_refused(kernels):
    with pytest.raises(ModelError):
        replace(NET, decoder_kernels=kernels).plan()


def test_residual_blocks_begin_as_nothing_and_their_deep_heads_are_for_training_only():
    torch.manual_seed(1)
    network = new_network(RESIDUAL.plan(), 1)
    block = network.encoder[1][1]
    assert not block.second.norm.weight.any()
    image = torch.randn(1, 1, *NET.patch_zyx)
    outputs = training_outputs(RESIDUAL.plan(), network, image)
    assert [tuple(output.shape) for output in outputs] == [(1, 3, 16, 16, 16), (1, 3, 8, 8, 8)]
    torch.testing.assert_close(network(image), outputs[0])
    with pytest.raises(ModelError, match="1 deep outputs at most"):
        new_network(RESIDUAL.plan(), 2)


def test_a_residual_net_learns_and_its_weights_fit_the_network_of_the_inference(tmp_path):
    settings = replace(SETTINGS, epochs=3)
    run(small_work(tmp_path / "fit", net=RESIDUAL, settings=settings))
    log = (tmp_path / "fit" / "metrics.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[2]) for row in log]
    assert losses[-1] < 0.9 * losses[0]
    weights = averaged_weights(tmp_path / "fit")
    load_weights(build_network(RESIDUAL.plan()), weights)
    again = build_network(RESIDUAL.plan(), 1, outputs=1)
    assert initialize_from(again, weights) == ["head.bias", "head.weight"]


@pytest.mark.parametrize(("size", "millions_of_values"), [("m", 680), ("l", 2100)])
def test_the_presets_of_residual_nets_are_nnunets(tmp_path, size, millions_of_values):
    overrides = [f"sources.flare23.path={tmp_path}", f"fits.final.net=resenc_{size}"]
    config = load_config(CONFIGS / "resenc.yaml", overrides)
    plan = config.net_of("final").plan(ANY_RANGE)
    assert plan.network.kwargs["blocks"] == [1, 3, 4, 6, 6, 6]
    assert plan.network.kwargs["filters"] == [32, 64, 128, 256, 320, 320]
    assert parameters(plan) / 1e6 == pytest.approx(101.84, rel=0.001)
    assert 0.9 * millions_of_values < feature_maps(plan) / 1e6 < millions_of_values


def feature_maps(plan):
    """Values in the feature maps of one patch, counted as nnU-Net's planner counts them."""
    layers = unet_layers(plan.network)
    size, voxels = np.array(plan.patch_zyx), []
    for stride in plan.network.kwargs["strides"]:
        size = size // stride
        voxels.append(int(np.prod(size)))
    total = layers.stem.channels * voxels[0]
    for count, stage in zip(voxels, layers.encoder, strict=True):
        total += count * sum(convolution.channels for block in stage for convolution in block.convolutions())
    for count, up in zip(voxels[-2::-1], layers.ups, strict=True):
        total += count * (up.channels + sum(convolution.channels for convolution in up.convolutions))
    return total


def sided(plan):
    """A network that calls what is bright the right kidney on the one half of its window, and the left on the other."""

    class Sided:
        classes, device = plan.classes, torch.device("cpu")

        def __call__(self, window):
            logits = torch.zeros(1, plan.classes, *window.shape[2:])
            half = window.shape[-1] // 2
            logits[:, 1, ..., :half], logits[:, 2, ..., half:] = window[:, 0, ..., :half], window[:, 0, ..., half:]
            return logits + 0.1 * torch.arange(window.shape[-1])  # something that a flip changes

    return Sided()


def test_mirrored_sides_are_swapped_back():
    net = replace(NET, segments=["right_kidney", "left_kidney"], mirror_sides=True)
    plan = net.plan()
    assert Plan.from_json(plan.to_json()).mirror_sides
    order = sides_swapped(plan.labels)
    assert order == [0, 2, 1]
    image = torch.rand(plan.patch_zyx)
    network = sided(plan)
    window = image[None, None]
    expected = (network(window) + network(window.flip(4)).flip(4)[:, order]) / 2
    found = predict(image, network, plan.patch_zyx, step=1.0, sides=order)
    torch.testing.assert_close(found, expected[0])
    assert found[1, ..., :8].mean() > found[2, ..., :8].mean()  # and not half of each, as without the swap
    flips = predict(image, network, plan.patch_zyx, step=1.0, sides=order, mirror_axes=(0, 1))
    torch.testing.assert_close(flips, expected[0])  # this network does not look along z and y


def test_sides_are_mirrored_only_where_both_are_known():
    assert sides_swapped({0: "background", 1: "liver"}) == [0, 1]
    with pytest.raises(ModelError, match="both structures of every pair"):
        replace(NET, segments=["liver", "left_kidney"], mirror_sides=True).plan()


def test_a_patch_may_be_mirrored_left_to_right_alone():
    config = replace(NOTHING, mirror=0.5)
    rng = np.random.default_rng(0)
    poses = [draw_pose((3.0,) * 3, (3.0,) * 3, (16, 16, 16), config, rng) for _ in range(40)]
    flipped = np.array([pose.flipped for pose in poses]).sum(0)
    assert flipped[0] == flipped[1] == 0
    assert 10 < flipped[2] < 30


def test_dice_and_cross_entropy_are_added_or_averaged():
    work = small_work(Path("nowhere"))
    both = small_work(Path("nowhere"), settings=replace(SETTINGS, terms="mean"))
    image, labels = torch.rand(1, 1, *NET.patch_zyx), torch.randint(0, 3, (1, *NET.patch_zyx), dtype=torch.uint8)
    batch = {"image": image, "labels": labels, "known": torch.ones(1, 3, dtype=torch.bool)}
    losses = []
    for job in (work, both):
        torch.manual_seed(3)
        losses.append(float(task_of(job).loss(batch, torch.Generator())))
    assert losses[0] == pytest.approx(2 * losses[1])
