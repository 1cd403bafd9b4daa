"""What is computed in parts, so that the largest CTs need no more memory than others, is what is computed at one go."""

import numpy as np
import pytest
import torch

from flareseg.inference import resample
from flareseg.inference.resample import nearest_indices, resample_image
from train.common.label_values import replaced, value_counts, value_sums
from train.data import label_resampling
from train.data.index import CLASSES, IGNORE, TUMOUR
from train.data.label_resampling import resampled_labels
from train.pseudolabels import fusion
from train.pseudolabels.fusion import changes, from_truth, fuse_organs, overlay_tumours, without_fusion

SHAPE = (23, 17, 19)


def labels(seed, values=(*range(CLASSES), IGNORE)):
    return np.random.default_rng(seed).choice(values, SHAPE).astype(np.uint8)


@pytest.mark.parametrize("spacing", [(2.0, 1.0, 1.0), (1.0, 1.0, 1.5), (1.0, 1.0, 1.0), (5.0, 1.0, 1.0)])
def test_a_ct_is_resampled_in_parts_as_at_one_go(monkeypatch, spacing):
    hu = np.random.default_rng(0).integers(-200, 300, SHAPE).astype(np.int16)
    whole = resample_image(hu, spacing, (1.3, 1.0, 0.7), "auto")
    monkeypatch.setattr(resample, "MIDDLE_BYTES", 4000)
    monkeypatch.setattr(resample, "SLAB_BYTES", 2000)
    torch.testing.assert_close(resample_image(hu, spacing, (1.3, 1.0, 0.7), "auto"), whole, rtol=0, atol=2e-3)


def test_of_slices_that_are_nearest_to_none_nothing_is_computed(monkeypatch):
    hu = np.random.default_rng(0).integers(-200, 300, SHAPE).astype(np.int16)
    every = resample_image(hu, (4.0, 1.0, 1.0), (4.0, 1.0, 0.7), "auto")
    computed = []
    interpolate = resample._Interpolation.__call__
    monkeypatch.setattr(
        resample._Interpolation,
        "__call__",
        lambda step, volume, *rest: (computed.append(len(volume)), interpolate(step, volume, *rest))[1],
    )
    found = resample_image(hu, (0.8, 1.0, 1.0), (4.0, 1.0, 0.7), "auto")
    assert max(computed) == len(found) == 5
    torch.testing.assert_close(found, every[nearest_indices(len(hu), 5)], rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(31, 17, 19), (9, 20, 12), (1, 5, 5)])
def test_labels_are_resampled_in_parts_as_at_one_go(monkeypatch, shape):
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[3:15, 2:9, 4:12], drawn[8:20, 9:15, 3:9], drawn[:, 15:] = 1, 14, 255
    whole = resampled_labels(drawn, shape, None)
    monkeypatch.setattr(label_resampling, "SLAB_VOXELS", 700)
    assert set(np.unique(whole)) > {0} and np.array_equal(resampled_labels(drawn, shape, None), whole)


def test_values_are_counted_and_replaced_slice_by_slice():
    drawn, weights = labels(1), np.random.default_rng(2).integers(0, 100, SHAPE).astype(np.uint8)
    assert np.array_equal(value_counts(drawn), np.bincount(drawn.ravel(), minlength=256))
    assert np.array_equal(value_sums(drawn, weights), np.bincount(drawn.ravel(), weights.ravel(), minlength=256))
    table = np.arange(256, dtype=np.uint8)[::-1].copy()
    assert np.array_equal(replaced(drawn.transpose(2, 0, 1), table), table[drawn.transpose(2, 0, 1)])


def every_fusion():
    truth, organs, tumours = labels(3), labels(4), labels(5, (0, TUMOUR, IGNORE))
    fused = fuse_organs(truth, (1, 3), organs, (1, 2, 3), in_part=(TUMOUR,))
    found = [fused, from_truth(truth, (1, 5), (7,)), fuse_organs(None, (), organs)]
    found += [overlay_tumours(fused, tumours, truth), without_fusion(truth, (1, TUMOUR), organs)]
    return found, changes(truth, organs, found[-1].labels), changes(None, None, truth)


def test_labels_are_fused_in_parts_as_at_one_go(monkeypatch):
    whole, *counts = every_fusion()
    monkeypatch.setattr(fusion, "SLICES", 4)
    parts, *counts_of_parts = every_fusion()
    assert counts_of_parts == counts
    for one, other in zip(parts, whole, strict=True):
        assert one.labels.dtype == np.uint8 and np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.denied, other.denied) and np.array_equal(one.known, other.known)
