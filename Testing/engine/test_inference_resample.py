"""Resampling: equal to scipy's spline zoom, and the way back equal to interpolating every class everywhere."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from flareseg.errors import Cancelled
from flareseg.inference.resample import cubic_matrix, nearest_axis, nearest_indices, resample_image, target_shape
from flareseg.progress import Progress


@pytest.mark.parametrize("sizes", [(20, 17), (13, 50), (50, 13), (2, 9), (1, 5), (7, 7), (30, 1), (512, 137)])
def test_the_matrix_of_one_axis_is_scipys_zoom(sizes):
    size_in, size_out = sizes
    signal = np.random.default_rng(1).normal(size=size_in)
    expected = ndimage.zoom(signal, size_out / size_in, order=3, mode="nearest", grid_mode=True)
    assert np.allclose(cubic_matrix(size_in, size_out) @ signal, expected, atol=1e-6)


def test_the_matrix_of_a_long_axis_has_no_denormal_numbers():
    matrix = cubic_matrix(512, 137)
    assert not ((matrix != 0) & (np.abs(matrix) < np.finfo(np.float32).tiny)).any()


@pytest.mark.parametrize("sizes", [(20, 17), (13, 50), (50, 13), (7, 7), (4, 8), (30, 1)])
def test_the_nearest_slice_is_the_one_that_scipy_takes(sizes):
    size_in, size_out = sizes
    centres = size_in / size_out * (np.arange(size_out) + 0.5) - 0.5
    expected = ndimage.map_coordinates(np.arange(float(size_in)), centres[None], order=0, mode="nearest")
    assert np.array_equal(nearest_indices(size_in, size_out), expected)


@pytest.mark.parametrize("spacing", [(2.5, 0.9, 1.0), (0.7, 3.1, 2.0), (5.0, 4.0, 3.0)])
def test_an_image_is_resampled_as_scipy_does_along_all_axes(spacing):
    hu = np.random.default_rng(2).integers(-1000, 1500, (14, 25, 31)).astype(np.int16)
    result = resample_image(hu, spacing, (3.0, 3.0, 3.0), "isotropic").numpy()
    factors = np.divide(target_shape(hu.shape, spacing, (3.0, 3.0, 3.0)), hu.shape)
    expected = ndimage.zoom(hu.astype(float), factors, order=3, mode="nearest", grid_mode=True)
    assert result.shape == expected.shape
    assert np.abs(result - expected.clip(hu.min(), hu.max())).max() < 2e-3


def slice_by_slice(hu: np.ndarray, axis: int, out: tuple[int, ...]) -> np.ndarray:
    """nnU-Net's rule for anisotropic volumes written out: every slice on its own, then the nearest slices."""
    slices = []
    for index in nearest_indices(hu.shape[axis], out[axis]):
        plane = hu.take(index, axis).astype(float)
        factors = np.divide([size for i, size in enumerate(out) if i != axis], plane.shape)
        zoomed = ndimage.zoom(plane, factors, order=3, mode="nearest", grid_mode=True)
        slices.append(zoomed.clip(plane.min(), plane.max()))
    return np.stack(slices, axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_anisotropic_volumes_take_the_nearest_slice_and_cubic_interpolation_in_plane(axis):
    hu = np.random.default_rng(3).integers(-1000, 1500, (19, 24, 20)).astype(np.int16)
    spacing, target = [0.8] * 3, [1.7] * 3
    spacing[axis], target[axis] = 5.0, 2.5
    result = resample_image(hu, tuple(spacing), tuple(target), "auto").numpy()
    expected = slice_by_slice(hu, axis, target_shape(hu.shape, tuple(spacing), tuple(target)))
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() < 2e-3


def test_hu_are_clipped_before_they_are_interpolated():
    hu = np.random.default_rng(6).integers(-1000, 1500, (14, 25, 31)).astype(np.int16)
    arguments = ((2.5, 0.9, 1.0), (3.0, 3.0, 3.0), "isotropic")
    clipped = resample_image(hu, *arguments, clip_hu=(-200.5, 300.0))
    assert torch.equal(clipped, resample_image(hu.astype(np.float32).clip(-200.5, 300), *arguments))


def test_a_volume_that_has_the_spacing_already_stays_as_it_is():
    hu = np.random.default_rng(7).integers(-1000, 1500, (9, 8, 7)).astype(np.int16)
    assert np.array_equal(resample_image(hu, (3.0, 3.0, 3.0), (3.0, 3.0, 3.0), "auto").numpy(), hu)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_the_ct_itself_is_never_changed(kind):
    hu = np.random.default_rng(8).integers(-1000, 1500, (9, 8, 7)).astype(kind)
    before = hu.copy()
    for target in ((3.0, 3.0, 3.0), (2.0, 4.0, 5.0)):
        resample_image(hu, (3.0, 3.0, 3.0), target, "auto", clip_hu=(-10.0, 10.0)).add_(1)
    assert np.array_equal(hu, before)


def test_a_volume_of_many_slabs_is_that_of_one(monkeypatch):
    hu = np.random.default_rng(9).integers(-1000, 1500, (20, 30, 40)).astype(np.int16)
    for spacing in ((2.5, 0.9, 1.0), (5.0, 0.9, 1.0), (1.0, 5.0, 1.0)):
        arguments = (hu, spacing, (3.0, 3.0, 3.0), "auto")
        at_once = resample_image(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr("flareseg.inference.resample.SLAB_BYTES", 3 * 4 * 30 * 40)
            assert torch.allclose(resample_image(*arguments), at_once, atol=1e-3)


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
    arguments = ((2.0, 1.0, 1.0), (3.0, 3.0, 3.0), "isotropic")
    assert torch.equal(resample_image(hu, *arguments), resample_image(hu.astype(np.float32), *arguments))


def test_views_with_negative_strides_are_resampled_like_copies():
    hu = np.random.default_rng(5).integers(-1000, 1500, (8, 9, 10)).astype(np.int16)
    arguments = ((2.0, 1.0, 1.0), (3.0, 3.0, 3.0), "isotropic")
    flipped = hu[::-1, :, ::-1].transpose(0, 2, 1)
    assert torch.equal(resample_image(flipped, *arguments), resample_image(flipped.copy(), *arguments))


def test_resampling_can_be_cancelled():
    hu = np.zeros((8, 8, 8), np.int16)
    with pytest.raises(Cancelled):
        resample_image(hu, (1.0, 1.0, 1.0), (3.0, 3.0, 3.0), "auto", progress=Progress(cancelled=lambda: True))
