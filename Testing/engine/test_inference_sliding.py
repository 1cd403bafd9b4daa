"""Windows: where they lie, how they blend, and that one window is the plain forward pass."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from flareseg.errors import Cancelled
from flareseg.inference.sliding import SHORTEST, blend_weights, halve_window, predict, window_shape, window_starts
from flareseg.progress import Progress


def nearly_equal(logits: torch.Tensor, expected: torch.Tensor) -> bool:
    """But for the rounding of what is added up in half precision."""
    return torch.allclose(logits.float(), expected.float(), rtol=4e-3, atol=4e-3)


class Pointwise:
    """A network that looks at one voxel at a time: two classes, the value and its square."""

    device = torch.device("cpu")
    classes = 2

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.cat([windows, windows**2], dim=1)


class Convolution:
    """A network that looks around, and not alike in all directions."""

    device = torch.device("cpu")
    classes = 3

    def __init__(self) -> None:
        self.layer = torch.nn.Conv3d(1, 3, 3, padding=1)
        torch.nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        return self.layer(windows)


class OneBuffer(Convolution):
    """Gives its results in the same memory every time, as OpenVINO does."""

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        self.buffer = getattr(self, "buffer", torch.zeros(0))
        result = super().__call__(windows)
        self.buffer.resize_(result.shape)
        return self.buffer.copy_(result)


class Adding(Pointwise):
    """Adds what it gives of a window to that of the others itself."""

    def add_weighted(self, window: torch.Tensor, weights_zyx: list[torch.Tensor], total: torch.Tensor) -> None:
        z, y, x = weights_zyx
        total += (self(window[None, None])[0] * (z[:, None, None] * y[:, None] * x)).half()


def an_image(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 40, 100])
@pytest.mark.parametrize("step", [0.5, 0.75, 1.0])
def test_windows_cover_an_axis_evenly_and_end_with_it(size, step):
    starts = window_starts(size, 16, step)
    covered = np.zeros(max(size, 16), bool)
    for start in starts:
        covered[start : start + 16] = True
    assert covered.all()
    assert starts[-1] == max(0, size - 16)
    assert all(b - a <= np.ceil(16 * step) for a, b in itertools.pairwise(starts))


def test_one_window_is_the_plain_forward_pass():
    network, image = Convolution(), an_image((16, 24, 32))
    assert torch.equal(predict(image, network, (16, 24, 32), step=1.0), network(image[None, None])[0])


@pytest.mark.parametrize("step", [0.5, 1.0])
def test_blended_windows_of_a_pointwise_network_are_its_forward_pass(step):
    network, image = Pointwise(), an_image((20, 33, 47))
    result = predict(image, network, (16, 16, 16), step=step)
    assert result.dtype == torch.float16
    assert nearly_equal(result, network(image[None, None])[0])


def test_a_volume_smaller_than_the_window_is_padded_and_cut_back():
    network, image = Pointwise(), an_image((5, 33, 3))
    assert nearly_equal(predict(image, network, (16, 16, 16), step=1.0), network(image[None, None])[0])


def test_cropping_the_input_crops_the_output_of_a_local_network():
    network, image = Pointwise(), an_image((24, 40, 40))
    whole = predict(image, network, (16, 16, 16), step=0.5)
    part = predict(image[4:20, 10:36, 7:33], network, (16, 16, 16), step=0.5)
    assert nearly_equal(whole[:, 4:20, 10:36, 7:33], part)


def test_mirroring_makes_the_output_follow_a_flipped_input():
    network, image = Convolution(), an_image((16, 16, 16))
    plain = predict(image, network, (16, 16, 16), step=1.0, mirror_axes=(0, 2))
    flipped = predict(image.flip(0, 2), network, (16, 16, 16), step=1.0, mirror_axes=(0, 2))
    assert torch.allclose(flipped.flip(1, 3), plain, atol=1e-5)
    assert not torch.allclose(plain, network(image[None, None])[0], atol=1e-3)


@pytest.mark.parametrize("shape", [(16, 16, 16), (20, 33, 47)])
@pytest.mark.parametrize("axes", [(), (0, 2)])
def test_a_network_may_give_its_results_in_the_same_memory_every_time(shape, axes):
    network, fresh, image = OneBuffer(), Convolution(), an_image(shape)
    fresh.layer = network.layer
    result = predict(image, network, (16, 16, 16), step=0.5, mirror_axes=axes)
    expected = predict(image, fresh, (16, 16, 16), step=0.5, mirror_axes=axes)
    network(torch.ones(1, 1, 16, 16, 16))
    assert torch.equal(result, expected)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_flipping_the_input_flips_the_output_of_windows_that_lie_alike(axes):
    network, image = Pointwise(), an_image((24, 40, 56))
    plain = predict(image, network, (16, 16, 16), step=0.5)
    flipped = predict(image.flip(axes), network, (16, 16, 16), step=0.5)
    assert nearly_equal(flipped.flip([axis + 1 for axis in axes]), plain)


def test_logits_can_be_put_together_elsewhere():
    network, image = Pointwise(), an_image((20, 33, 47))
    there = predict(image, network, (16, 16, 16), step=0.5, gather_on=torch.device("meta"))
    assert there.device.type == "meta" and there.shape == (2, 20, 33, 47)


def test_mirroring_runs_the_network_once_per_combination_of_flips():
    network = Pointwise()
    predict(an_image((16, 16, 16)), network, (16, 16, 16), step=1.0, mirror_axes=(0, 1, 2))
    assert network.calls == 8


def test_the_shares_of_all_windows_add_up_to_one_everywhere():
    starts = window_starts(100, 32, 0.5)
    total = torch.zeros(100)
    for start, share in zip(starts, blend_weights(100, 32, starts), strict=True):
        total[start : start + 32] += share
    assert torch.allclose(total, torch.ones(100), atol=1e-6)


def test_overlapping_windows_are_averaged_by_a_gaussian_of_an_eighth_of_the_window():
    # the reference: a filtered peak, as nnU-Net's predictor makes it, in three dimensions
    shape, window = (24, 40, 33), (16, 16, 16)
    peak = np.zeros(window)
    peak[8, 8, 8] = 1
    gaussian = ndimage.gaussian_filter(peak, 2, mode="constant")
    starts = [window_starts(size, 16, 0.5) for size in shape]
    image, network = an_image(shape), Convolution()
    total, weights = np.zeros((3, *shape)), np.zeros(shape)
    for z, y, x in itertools.product(*starts):
        box = (slice(z, z + 16), slice(y, y + 16), slice(x, x + 16))
        total[(slice(None), *box)] += network(image[box][None, None])[0].numpy() * gaussian
        weights[box] += gaussian
    assert nearly_equal(predict(image, network, window, step=0.5), torch.from_numpy(total / weights))


def test_half_precision_holds_the_share_of_every_voxel():
    shares = blend_weights(60, 32, [0, 28])
    corner = shares[0].half()[:, None, None] * shares[0].half()[:, None] * shares[0].half()
    assert corner[0, 0, 0] == 1


@pytest.mark.parametrize("step", [0.05, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("size", [*range(1, 400, 37), 1500])
def test_fitted_windows_are_whole_strides_and_not_much_larger_than_the_patch(size, step):
    shape, patch = (size, 190, 70 + size // 2), (64, 80, 112)
    window = window_shape(shape, patch, (16, 16, 16), step, rule="fitted")
    for extent, length, longest in zip(shape, window, patch, strict=True):
        assert length % 16 == 0
        assert longest * SHORTEST <= length <= longest * 1.25
        assert len(window_starts(extent, length, step)) * length >= extent
    assert np.prod(window) <= 1.4 * np.prod(patch)


@pytest.mark.parametrize("size", [90, 130, 200, 333])
def test_fitted_windows_compute_no_more_than_fixed_ones(size):
    def computed(window):
        return np.prod([len(window_starts(size, length, 0.75)) * length for length in window])

    patch, strides = (64, 80, 112), (16, 16, 16)
    assert computed(window_shape((size,) * 3, patch, strides, 0.75, rule="fitted")) <= computed(patch)


def test_a_small_volume_fits_one_window():
    assert window_shape((70, 70, 90), (64, 80, 112), (16, 16, 16), 0.75, rule="fitted") == (80, 80, 96)


def test_a_thin_slab_is_seen_with_air_around_it():
    assert window_shape((10, 70, 60), (64, 80, 112), (16, 16, 16), 0.75, rule="fitted") == (48, 80, 96)


def test_fixed_windows_are_the_patch():
    assert window_shape((10, 500, 70), (56, 160, 192), (8, 32, 32), 0.5, rule="fixed") == (56, 160, 192)


def test_the_longest_axis_is_halved_to_whole_strides_until_two_are_left():
    assert halve_window((64, 80, 112), (16, 16, 16)) == (64, 80, 48)
    assert halve_window((64, 80, 48), (16, 16, 16)) == (64, 32, 48)
    assert halve_window((32, 32, 32), (16, 16, 16)) is None


def test_a_network_may_add_its_windows_itself():
    image = an_image((40, 24, 56))
    expected = predict(image, Pointwise(), (16, 16, 16), step=0.5)
    assert torch.equal(predict(image, Adding(), (16, 16, 16), step=0.5), expected)


def test_mirrored_looks_are_averaged_before_a_network_could_add_them():
    image = an_image((24, 16, 24))
    expected = predict(image, Pointwise(), (16, 16, 16), step=0.5, mirror_axes=(0, 2))
    assert torch.equal(predict(image, Adding(), (16, 16, 16), step=0.5, mirror_axes=(0, 2)), expected)


@pytest.mark.parametrize("kind", [Pointwise, Adding])
def test_a_cancel_stops_between_two_windows(kind):
    network = kind()
    progress = Progress(cancelled=lambda: network.calls >= 3)
    with pytest.raises(Cancelled):
        predict(an_image((64, 64, 64)), network, (16, 16, 16), step=1.0, progress=progress)
    assert network.calls == 3
