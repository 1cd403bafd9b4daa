"""Resampling: equal to scipy's spline zoom, and the way back equal to interpolating every class everywhere."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from flareseg.errors import Cancelled
from flareseg.inference.resample import (
    interpolation_matrix,
    logits_to_labels,
    nearest_axis,
    resample_image,
    target_shape,
)
from flareseg.progress import Progress

CPU = torch.device("cpu")


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("sizes", [(20, 17), (13, 50), (50, 13), (2, 9), (1, 5), (7, 7), (30, 1)])
def test_the_matrix_of_one_axis_is_scipys_zoom(sizes, order):
    size_in, size_out = sizes
    signal = np.random.default_rng(1).normal(size=size_in)
    if order == 0:  # scipy's own rounding of exact halves differs from the reference's: compare away from them
        centres = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
        expected = signal[np.clip(np.floor(centres + 0.5).astype(int), 0, size_in - 1)]
    else:
        expected = ndimage.zoom(signal, size_out / size_in, order=order, mode="nearest", grid_mode=True)
    assert np.allclose(interpolation_matrix(size_in, size_out, order) @ signal, expected, atol=1e-6)


@pytest.mark.parametrize("spacing", [(2.5, 0.9, 1.0), (0.7, 3.1, 2.0), (5.0, 4.0, 3.0)])
def test_an_image_is_resampled_as_scipy_does_along_all_axes(spacing):
    hu = np.random.default_rng(2).integers(-1000, 1500, (14, 25, 31)).astype(np.int16)
    result = resample_image(hu, spacing, (3.0, 3.0, 3.0), "isotropic", CPU).numpy()
    factors = np.divide(target_shape(hu.shape, spacing, (3.0, 3.0, 3.0)), hu.shape)
    expected = ndimage.zoom(hu.astype(float), factors, order=3, mode="nearest", grid_mode=True)
    assert result.shape == expected.shape
    assert np.abs(result - expected.clip(hu.min(), hu.max())).max() < 2e-3


def test_anisotropic_volumes_take_the_nearest_slice_and_cubic_interpolation_in_plane():
    hu = np.random.default_rng(3).integers(-1000, 1500, (9, 24, 20)).astype(np.int16)
    result = resample_image(hu, (5.0, 0.8, 0.8), (2.5, 1.6, 1.6), "auto", CPU).numpy()
    in_plane = ndimage.zoom(hu.astype(float), (1, 0.5, 0.5), order=3, mode="nearest", grid_mode=True)
    expected = in_plane.clip(hu.min(), hu.max())[np.repeat(np.arange(9), 2)]
    assert np.abs(result - expected).max() < 2e-3


@pytest.mark.parametrize(
    ("rule", "spacing", "target", "axis"),
    [
        ("auto", (2.5, 0.8, 0.8), (3.0, 3.0, 3.0), 0),
        ("auto", (2.4, 0.8, 0.8), (3.0, 3.0, 3.0), None),
        ("auto", (1.0, 1.0, 1.0), (2.5, 0.8, 0.8), 0),
        ("auto", (1.0, 4.0, 1.0), (1.0, 1.0, 1.0), 1),
        ("auto", (4.0, 4.0, 1.0), (1.0, 1.0, 1.0), None),
        ("isotropic", (5.0, 0.5, 0.5), (1.0, 1.0, 1.0), None),
        ("separate_z", (2.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0),
    ],
)
def test_the_axis_of_nearest_slices_follows_the_rule(rule, spacing, target, axis):
    assert nearest_axis(rule, spacing, target) == axis


def test_int16_and_float_images_give_the_same():
    hu = np.random.default_rng(4).integers(-1000, 1500, (8, 9, 10)).astype(np.int16)
    arguments = ((2.0, 1.0, 1.0), (3.0, 3.0, 3.0), "isotropic", CPU)
    assert torch.equal(resample_image(hu, *arguments), resample_image(hu.astype(np.float32), *arguments))


def test_views_with_negative_strides_are_resampled_like_copies():
    hu = np.random.default_rng(5).integers(-1000, 1500, (8, 9, 10)).astype(np.int16)
    arguments = ((2.0, 1.0, 1.0), (3.0, 3.0, 3.0), "isotropic", CPU)
    flipped = hu[::-1, :, ::-1].transpose(0, 2, 1)
    assert torch.equal(resample_image(flipped, *arguments), resample_image(flipped.copy(), *arguments))


def all_classes_everywhere(logits: torch.Tensor, shape: tuple[int, ...], nearest: int | None) -> np.ndarray:
    """Every class interpolated to the whole grid, then argmax: what the slabs must equal."""
    values = logits.numpy()
    for axis, (size_in, size_out) in enumerate(zip(values.shape[1:], shape, strict=True)):
        matrix = interpolation_matrix(size_in, size_out, 0 if axis == nearest else 1)
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis + 1)), 0, axis + 1)
    return values.argmax(0).astype(np.uint8)


def smooth_logits(seed: int, classes: int, shape: tuple[int, int, int]) -> torch.Tensor:
    knots = torch.randn(1, classes, 4, 5, 6, generator=torch.Generator().manual_seed(seed))
    logits = torch.nn.functional.interpolate(knots, size=shape, mode="trilinear")[0] * 4
    logits[0] += 3
    return logits


@pytest.mark.parametrize("nearest", [None, 0, 1])
@pytest.mark.parametrize(
    "shapes", [((12, 20, 22), (31, 77, 90)), ((9, 33, 17), (9, 120, 130)), ((20, 20, 20), (7, 11, 13))]
)
def test_slabs_equal_interpolating_every_class_everywhere(shapes, nearest):
    logits = smooth_logits(6, 15, shapes[0])
    assert np.array_equal(
        logits_to_labels(logits, shapes[1], nearest), all_classes_everywhere(logits, shapes[1], nearest)
    )


def test_slabs_equal_interpolating_everything_for_noise_where_no_tile_is_simple():
    logits = torch.randn(5, 10, 11, 12, generator=torch.Generator().manual_seed(7))
    assert np.array_equal(
        logits_to_labels(logits, (25, 70, 66), None), all_classes_everywhere(logits, (25, 70, 66), None)
    )


def test_a_class_that_is_first_at_no_sample_can_still_win_between_two():
    logits = torch.tensor([[10.0, 0.0], [0.0, 10.0], [9.0, 9.0]]).view(3, 1, 1, 2)
    assert 2 in logits_to_labels(logits, (1, 1, 9), None)


def test_the_way_back_can_be_cancelled():
    with pytest.raises(Cancelled):
        logits_to_labels(smooth_logits(8, 3, (8, 8, 8)), (32, 32, 32), None, Progress(cancelled=lambda: True))
