"""Nets of TotalSegmentator: its own labels, recorded by Testing/benchmarks/record_totalsegmentator.py."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from flareseg.inference import head, runtime
from flareseg.inference.head import Head, LazyLogits
from flareseg.inference.logits_to_labels import winners, winning_class
from flareseg.inference.totalsegmentator import nearest, zoomed
from flareseg.interop.nnunet.importer import Choice, read_nnunet
from flareseg.io.files import read_labels, read_volume
from flareseg.labels import by_names
from flareseg.model.bundle import load_bundle, save_bundle
from flareseg.model.structures import structures_of
from flareseg.options import Options
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Volume, WorldBox

sys.path.insert(0, str(Path(__file__).parent))
from totalsegmentator_replica import PATCHES_ZYX, write_replica

BIG_ML = 5.0


@pytest.fixture(scope="module")
def recorded(request):
    return request.path.parent / "data" / "totalsegmentator"


@pytest.fixture(scope="module")
def ct(recorded):
    return read_volume(recorded / "ct.nii.gz")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The recorded nets as they are imported, by how many windows they need."""
    folders = {}
    for windows in PATCHES_ZYX:
        home = tmp_path_factory.mktemp(windows)
        folders[windows] = home / "imported"
        read_nnunet(write_replica(home, windows), Choice()).save(folders[windows], name="replica", overwrite=False)
    return folders


def segmenter(folder, **options):
    return Segmenter(folder, Options(device="cpu", threads=1, **options))


def expected_of(recorded, folder, windows):
    """TotalSegmentator's labels with FLARE's numbers."""
    values = np.array([0, *(one.value for one in structures_of(load_bundle(folder).plan))], np.uint8)
    labels, _ = read_labels(recorded / f"{windows}.nii.gz")
    return values[labels]


def dice(first, second):
    return 2 * float(np.sum(first & second)) / float(np.sum(first) + np.sum(second))


def test_the_import_knows_what_totalsegmentator_does(models):
    plan = load_bundle(models["several"]).plan
    assert (plan.resampling, plan.image_order, plan.orientation, plan.step) == ("corners", 1, "ras", 0.8)


@pytest.mark.parametrize("windows", PATCHES_ZYX)
def test_with_parity_the_labels_are_totalsegmentators(recorded, ct, models, windows):
    expected = expected_of(recorded, models[windows], windows)
    found = segmenter(models[windows], parity=True).segment(ct)
    assert len(np.unique(expected)) == 5  # the CT is sagittal and oblique: every axis is turned
    assert np.mean(found.labels == expected) >= 0.9999


def test_without_parity_big_structures_are_totalsegmentators(monkeypatch, recorded, ct, models):
    monkeypatch.setattr(runtime, "cpu_multiplies_bf16", lambda: False)  # for the same answer on every processor
    expected = expected_of(recorded, models["one"], "one")
    found = segmenter(models["one"], parity=False, backend="torch").segment(ct).labels
    scores = {
        value: dice(found == value, expected == value)
        for value in np.unique(expected)[1:]
        if np.sum(expected == value) * ct.geometry.voxel_ml > BIG_ML
    }
    assert len(scores) >= 3 and min(scores.values()) >= 0.99, scores


def test_left_stays_left_however_the_voxels_are_stored(ct, models):
    found = segmenter(models["one"], parity=False).segment(ct).labels
    geometry = ct.geometry
    for axis in range(3):
        turned = np.ascontiguousarray(np.flip(ct.hu, axis))
        matrix = geometry.index_to_world()
        # columns x, y, z of the matrix are the axes 2, 1, 0
        direction = np.array(geometry.direction)
        origin = matrix[:3, 3] + matrix[:3, 2 - axis] * (ct.hu.shape[axis] - 1)
        direction[:, 2 - axis] *= -1
        flipped = replace(geometry, origin_xyz_mm=tuple(origin), direction=tuple(map(tuple, direction)))
        labels = segmenter(models["one"], parity=False).segment(Volume(turned, flipped, "turned")).labels
        assert np.array_equal(np.flip(labels, axis), found)


def test_wanted_structures_and_the_confidence(ct, models):
    model = segmenter(models["one"], parity=False)
    everything = model.segment(ct, confidence=True)
    liver = model.segment(ct, structures=by_names(["liver"]))
    assert np.array_equal(liver.labels, everything.labels * (everything.labels == 1))
    assert everything.confidence is not None and everything.confidence.shape == ct.hu.shape
    assert everything.confidence.min() < 90 and everything.confidence.max() == 100


def test_a_region_of_interest_bounds_the_labels(ct, models):
    world = ct.geometry.index_to_world()
    corners = np.array([world @ [*np.multiply(ct.hu.shape[::-1], share), 1] for share in (0.25, 0.75)])[:, :3]
    roi = WorldBox(tuple(corners.min(0)), tuple(corners.max(0)))
    labels = segmenter(models["one"], parity=False).segment(ct, roi=roi).labels
    outside = np.ones(labels.shape, bool)
    outside[roi.in_grid(ct.geometry)] = False
    assert labels.any() and not labels[outside].any()


@pytest.mark.parametrize(("parity", "hu"), [(True, 0), (False, -1000)])
def test_nothing_but_air_has_no_labels(models, parity, hu):
    empty = Volume(np.full((12, 20, 22), hu, np.int16), Geometry((12, 20, 22), (3.0, 2.0, 2.5)), "empty")
    result = segmenter(models["one"], parity=parity).segment(empty)
    assert result.labels.shape == (12, 20, 22) and not result.labels.any()


def test_images_that_are_normalised_by_themselves(tmp_path, ct, models):
    bundle = load_bundle(models["one"])
    plan = replace(bundle.plan, intensity=replace(bundle.plan.intensity, scheme="zscore"))
    save_bundle(tmp_path / "zscore", plan=plan, weights=dict(bundle.weights), card="", **bundle.info)
    fast, exact = (segmenter(tmp_path / "zscore", parity=parity).segment(ct).labels for parity in (False, True))
    assert exact.any() and np.mean(fast == exact) > 0.99


def test_all_classes_exist_for_a_few_voxels_at_a_time(monkeypatch, ct, models):
    seen, real = [], torch.addmm

    def spied(*arguments, **options):
        result = real(*arguments, **options)
        seen.append(result.shape)
        return result

    monkeypatch.setattr(torch, "addmm", spied)
    monkeypatch.setattr(head, "VOXELS_AT_ONCE", 100)
    monkeypatch.setattr(LazyLogits, "slices", lambda *_: pytest.fail("all classes of a slice"))
    labels = segmenter(models["one"], parity=False).segment(ct).labels
    assert labels.any() and {shape[1] for shape in seen} == {5} and max(shape[0] for shape in seen) == 100


def test_winners_of_features_are_those_of_all_logits():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(6, 5, 33, 70, generator=generator).half()
    logits = LazyLogits(features, Head("head", torch.randn(20, 6, generator=generator), torch.zeros(20)))
    assert torch.equal(winners(logits), winning_class(logits.slices(slice(None))))


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("out", [(9, 17, 23), (14, 8, 31), (1, 11, 12), (12, 10, 19)])
def test_zoomed_as_scipy_zooms(order, out):
    hu = np.random.default_rng(4).integers(-1000, 1000, (12, 10, 19)).astype(np.int16)
    factors = [size / before for size, before in zip(out, hu.shape, strict=True)]
    expected = ndimage.zoom(hu.astype(np.float64), factors, order=order, mode="nearest").astype(np.int32)
    assert zoomed(hu, out, order).shape == expected.shape
    # what is a whole number may be one less after rounding
    assert np.mean(zoomed(hu, out, order) == expected) > 0.98
    assert np.abs(zoomed(hu, out, order) - expected).max() <= 1


@pytest.mark.parametrize("out", [(31, 20, 47), (12, 10, 19), (3, 1, 5), (24, 19, 37)])
def test_nearest_as_scipy_zooms(out):
    labels = np.random.default_rng(5).integers(0, 100, (12, 10, 19)).astype(np.uint8)
    factors = [size / before for size, before in zip(out, labels.shape, strict=True)]
    assert np.array_equal(nearest(labels, out), ndimage.zoom(labels, factors, order=0, mode="nearest"))
