"""Organs that hold no fat are kept free of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from flareseg.inference.postprocessing import exclude_fat

FAT, ORGAN, GAS = -100, 50, -1000
KIDNEY, PANCREAS = 2, 4


def scene(noise=0.0, seed=0):
    """A kidney with a sinus of fat, drawn a voxel too large, beside a pancreas that was drawn in fat."""
    hu = np.full((12, 40, 40), FAT, np.float64)
    hu[:, 5:25, 5:25] = ORGAN
    hu[3:9, 12:18, 12:18] = FAT
    labels = np.zeros(hu.shape, np.uint8)
    labels[:, 3:27, 3:27] = KIDNEY
    labels[:, 30:36, 30:36] = PANCREAS
    return labels, np.rint(hu + np.random.default_rng(seed).normal(0, noise, hu.shape)).astype(np.int16)


def test_sinus_and_rim_are_removed_and_all_else_stays():
    labels, hu = scene()
    result = exclude_fat(labels.copy(), hu, (3.0, 3.0, 3.0), [KIDNEY])
    expected = np.where((labels == KIDNEY) & (hu == FAT), 0, labels)
    np.testing.assert_array_equal(result, expected)


def test_structures_without_the_rule_keep_their_fat():
    labels, hu = scene()
    assert (exclude_fat(labels.copy(), hu, (3.0, 3.0, 3.0), [1]) == labels).all()


@pytest.mark.parametrize("spacing_zyx_mm", [(2.5, 0.8, 0.8), (0.7, 0.6, 0.6), (0.4, 0.4, 0.4)])
def test_noise_of_thin_slices_makes_no_holes(spacing_zyx_mm):
    labels, hu = scene(noise=50.0)
    result = exclude_fat(labels.copy(), hu, spacing_zyx_mm, [KIDNEY])
    raw = exclude_fat(labels.copy(), hu, (3.0, 3.0, 3.0), [KIDNEY])
    inside = np.zeros(labels.shape, bool)
    inside[:, 8:22, 8:22] = True
    inside[:, 9:21, 9:21] = False
    assert (raw[inside] == 0).mean() > 0.01, "the noise is strong enough to matter"
    assert (result[inside] == 0).mean() < 0.1 * (raw[inside] == 0).mean()


@pytest.mark.parametrize(
    "spacing_zyx_mm, size", [((3, 3, 3), (1, 1, 1)), ((2.5, 0.8, 0.8), (1, 3, 3)), ((1, 0.4, 0.6), (3, 5, 5))]
)
def test_the_mean_is_taken_over_some_millimetres_up_to_the_ct_s_end(spacing_zyx_mm, size):
    labels, hu = scene(noise=30.0, seed=3)
    labels[:] = KIDNEY
    mean = uniform_filter(hu.clip(-200, 200).astype(np.float64), size, mode="nearest")
    sure = abs(mean + 50) > 1e-6
    result = exclude_fat(labels, hu, spacing_zyx_mm, [KIDNEY])
    np.testing.assert_array_equal((result == 0)[sure], (mean < -50)[sure])


def test_gas_beside_an_organ_does_not_outweigh_it():
    hu = np.full((1, 9, 9), ORGAN, np.int16)
    hu[0, :, 4] = GAS
    labels = np.full(hu.shape, KIDNEY, np.uint8)
    exclude_fat(labels, hu, (2.5, 0.8, 0.8), [KIDNEY])
    assert (labels[0, :, 3] == KIDNEY).all() and (labels[0, :, 5] == KIDNEY).all()


def test_an_empty_label_map_stays_empty():
    labels, hu = scene()
    assert not exclude_fat(np.zeros_like(labels), hu, (1.0, 1.0, 1.0), [KIDNEY]).any()
