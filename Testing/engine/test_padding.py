"""What a network sees around an image that is smaller than its window is what it saw in training."""

from dataclasses import replace

import pytest
import torch

from flareseg.inference.sliding import predict
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.plan import Intensity, Plan


class Witness:
    """A network that keeps the windows it was given."""

    device = torch.device("cpu")
    classes = 2

    def __init__(self):
        self.windows = []

    def __call__(self, windows):
        self.windows.append(windows.clone())
        return windows.repeat(1, 2, 1, 1, 1)


@pytest.fixture
def plan():
    return Plan(
        spacing_zyx_mm=(3.0, 3.0, 3.0),
        patch_zyx=(8, 8, 8),
        intensity=Intensity((-200.0, 350.0), 70.0, 100.0),
        network=dynunet_spec([4, 8, 8]),
        labels={0: "background", 1: "liver"},
        padding_hu=-1024.0,
    )


def test_the_padding_is_clipped_and_normalised_like_the_image(plan):
    assert plan.padding == pytest.approx(-2.7)
    assert replace(plan, padding_hu=None).padding == 0.0


def test_the_padding_survives_the_model_file(plan):
    assert Plan.from_json(plan.to_json()).padding_hu == -1024.0
    old = plan.to_json()
    del old["padding_hu"]
    assert Plan.from_json(old).padding == 0.0


def test_a_small_image_is_surrounded_by_it_and_comes_out_unchanged(plan):
    image, network = torch.rand(3, 8, 5), Witness()
    logits = predict(image, network, (8, 8, 8), step=1.0, padding=plan.padding)
    (window,) = network.windows
    assert int((window == plan.padding).sum()) == 8 * 8 * 8 - image.numel()
    torch.testing.assert_close(logits, image.repeat(2, 1, 1, 1))
