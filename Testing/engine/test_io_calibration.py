"""Hounsfield units are told from other values whatever surrounds the field of view."""

from pathlib import Path

import numpy as np
import pytest

from flareseg.errors import InputError
from flareseg.io.calibration import oddity
from flareseg.io.files import read_volume, write_volume
from flareseg.volume import Geometry, Volume

DATA = Path(__file__).parents[3] / "shared" / "data"
PADDINGS = [None, -2000, -3024, -1024, -1000, -32768, -500, 0, 4095]


def body(noise=8.0, size=64, slices=24, air=True):
    """A trunk with fat, soft tissue, organs, bone, lung and gas in air; or only what lies within it."""
    z, y, x = np.mgrid[:slices, :size, :size].astype(float)
    c = size / 2

    def ellipse(cy, cx, ry, rx):
        return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1

    hu = np.full(z.shape, -1000.0)
    hu[ellipse(c, c, c * 0.75, c * 0.9)] = -100
    hu[ellipse(c, c, c * 0.64, c * 0.78)] = 40
    hu[ellipse(c - 4, c - 12, 9, 9) & (z > 5)] = 110
    hu[ellipse(c + 8, c + 12, 6, 5)] = 180
    hu[ellipse(c + 2, c - 2, 5, 3)] = -100
    hu[ellipse(c + 14, c, 4, 4)] = 500
    hu[ellipse(c - 6, c + 14, 6, 6) & (z > slices - 5)] = -850
    hu[ellipse(c - 10, c + 4, 2, 3)] = -950
    hu += np.random.default_rng(0).normal(0, noise, hu.shape)
    if not air:
        hu = hu[: slices - 5, size // 4 + 8 : -size // 8, size // 8 : -size // 8]
    return np.clip(hu, -1024, 3071).round()


def padded(hu, padding, share=0.97):
    """`hu` with `padding` outside a circle."""
    if padding is None:
        return hu
    _, height, width = hu.shape
    y, x = np.mgrid[:height, :width]
    outside = ((2 * y + 1) / height - 1) ** 2 + ((2 * x + 1) / width - 1) ** 2 > share**2
    return np.where(outside, padding, hu)


BODIES = {"plain": body(), "noisy": body(70.0), "without air": body(air=False), "small": body(size=48)}


@pytest.fixture(params=BODIES, ids=str)
def hu(request):
    return BODIES[request.param]


@pytest.mark.parametrize("share", [0.97, 0.8, 1.2])
@pytest.mark.parametrize("padding", PADDINGS)
def test_hounsfield_units_pass_with_any_padding(hu, padding, share):
    assert oddity(padded(hu, padding, share)) is None
    assert oddity(padded(hu, padding, share).astype(np.float32) + np.float32(0.25)) is None


@pytest.mark.parametrize("share", [0.97, 0.8, 1.2])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("offset", [1024, 1000])
def test_a_missing_intercept_is_named_with_any_padding(hu, padding, share, offset):
    reason = oddity(padded(hu + offset, padding, share))
    assert reason and "rescale intercept of -1024 is missing" in reason


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    "change",
    [
        lambda hu: np.clip((hu + 160) / 400 * 255, 0, 255).round(),
        lambda hu: np.clip((hu + 160) / 400, 0, 1),
        lambda hu: np.where(hu < 0, hu + 65536, hu).clip(0, 32767),
        lambda hu: (hu + 1024).clip(0, 4095),
        lambda hu: hu - 1024,
    ],
    ids=["windowed to 0..255", "windowed to 0..1", "wrapped", "stored", "shifted twice"],
)
def test_other_values_are_refused_with_any_padding(hu, padding, change):
    assert oddity(padded(change(hu), padding))


@pytest.mark.parametrize("padding", PADDINGS)
def test_ten_times_as_large_is_refused(padding):
    assert oddity(np.clip(padded(body() * 10, padding), -32768, 32767))


def test_padding_of_several_kinds_at_once(hu):
    for values, good in ((hu, True), (hu + 1024, False)):
        image = padded(padded(values, -1024), -2000, 1.1)
        image[0] = -3024
        assert (oddity(image) is None) == good


def test_the_command_says_how_to_go_on(tmp_path):
    image = padded(body() + 1024, -2000).astype(np.int16)
    path = write_volume(Volume(image, Geometry(image.shape, (5.0, 4.0, 4.0))), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"a\.nii\.gz' does not look like a CT: .*intercept of -1024.*--force"):
        read_volume(path)
    assert np.array_equal(read_volume(path, force=True).hu, image)


CTS = sorted(DATA.glob("*/ct.nii.gz"))[::6]


@pytest.mark.skipif(not CTS, reason="the real CTs of ../shared/data are not here")
@pytest.mark.parametrize("path", CTS, ids=lambda path: path.parent.name)
def test_real_cts_are_told_from_their_stored_values(path):
    hu = read_volume(path).hu[::4, ::3, ::3].astype(np.int32)
    for padding in PADDINGS:
        assert oddity(padded(hu, padding)) is None
        reason = oddity(padded(hu + 1024, padding))
        assert reason and "intercept of -1024 is missing" in reason
