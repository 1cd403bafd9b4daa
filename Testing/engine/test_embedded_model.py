"""The embedded model on synthetic abdomens that it has not seen, and on a real CT."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reordered import reordered, reordered_array

from flareseg.labels import by_names
from flareseg.options import Options
from flareseg.progress import Progress
from flareseg.results.metrics import dice
from flareseg.segmenter import NOTHING_FOUND, Segmenter
from flareseg.volume import Geometry, Volume, as_rows
from train.synthetic.phantom import Phantom, make_phantom


@pytest.fixture(scope="module")
def the_embedded_one():
    return Segmenter(options=Options(device="cpu", threads=2))


@pytest.fixture(scope="module")
def unseen() -> Phantom:
    """A synthetic abdomen that no embedded model was trained on."""
    return make_phantom(2_000_003, spacing_zyx_mm=(3.0, 2.0, 2.0), phase="portal", view="abdomen")


@pytest.fixture(scope="module")
def unseen_ct(unseen) -> Volume:
    return Volume(unseen.hu, Geometry(unseen.hu.shape, unseen.spacing_zyx_mm), "synthetic")


@pytest.fixture(scope="module")
def unseen_labels(the_embedded_one, unseen_ct) -> np.ndarray:
    """What the embedded model finds in it."""
    return the_embedded_one.segment(unseen_ct).labels


def test_what_leaves_the_region_is_followed_however_the_file_lies(the_embedded_one, monkeypatch):
    phantom = make_phantom(4, spacing_zyx_mm=(5.0, 3.0, 3.0), phase="portal", view="chest, abdomen and pelvis")
    ct = Volume(phantom.hu, Geometry(phantom.hu.shape, phantom.spacing_zyx_mm))
    whole = the_embedded_one.segment(ct)
    middle = int(np.argwhere(phantom.labels == 1)[:, 0].mean())

    def too_short(case, body):
        return (slice(middle - 12, middle + 12), *body[1:])

    monkeypatch.setattr(the_embedded_one._model.strategy, "find_region", too_short)
    progress = Progress()
    followed = the_embedded_one.segment(ct, progress=progress, confidence=True)
    assert "beyond" in progress.seconds
    for value in (1, 2, 5, 6, 13):
        assert dice(followed.labels == value, whole.labels == value) > 0.85, f"structure {value}"
    slices = np.flatnonzero((followed.labels > 0).any(axis=(1, 2)))
    assert slices.min() < middle - 12 and slices.max() > middle + 12
    assert followed.confidence[slices.max()].any() and followed.confidence[slices.min()].any()
    turned = the_embedded_one.segment(reordered(ct, (2, 0, 1), (True, False, True)))
    assert np.array_equal(turned.labels, reordered_array(followed.labels, (2, 0, 1), (True, False, True)))


LARGE = by_names(["liver", "spleen", "left_kidney", "right_kidney"])


def test_the_embedded_model_finds_the_large_organs_of_an_unseen_synthetic_patient(unseen, unseen_labels):
    for structure in LARGE:
        assert dice(unseen_labels == structure.value, unseen.labels == structure.value) > 0.8, structure.name


def test_labels_follow_a_cropped_ct(the_embedded_one, unseen_ct, unseen_labels):
    cut = (slice(8, None), slice(10, -6), slice(12, -9))
    part = Volume(
        unseen_ct.hu[cut],
        Geometry(unseen_ct.hu[cut].shape, unseen_ct.geometry.spacing_zyx_mm, unseen_ct.geometry.world_of((8, 10, 12))),
    )
    labels = the_embedded_one.segment(part).labels
    for structure in LARGE:
        assert dice(labels == structure.value, unseen_labels[cut] == structure.value) > 0.93, structure.name


def test_labels_follow_a_resampled_ct(the_embedded_one, unseen_ct, unseen_labels):
    coarse = Volume(
        unseen_ct.hu[:, ::2, ::2].copy(),
        Geometry(unseen_ct.hu[:, ::2, ::2].shape, (3.0, 4.0, 4.0)),
    )
    labels = the_embedded_one.segment(coarse).labels
    for structure in LARGE:
        assert dice(labels == structure.value, unseen_labels[:, ::2, ::2] == structure.value) > 0.88, structure.name


def test_a_scan_of_air_gives_an_empty_result_that_says_so(the_embedded_one):
    air = Volume(np.full((40, 60, 60), -1000, np.int16), Geometry((40, 60, 60), (3.0, 3.0, 3.0)))
    result = the_embedded_one.segment(air)
    assert not result.labels.any()
    assert NOTHING_FOUND in result.notes


def test_thighs_hold_no_abdominal_organ_and_the_result_says_so(the_embedded_one):
    phantom = make_phantom(2_000_101, spacing_zyx_mm=(3.0, 2.0, 2.0), view="thighs")
    result = the_embedded_one.segment(Volume(phantom.hu, Geometry(phantom.hu.shape, phantom.spacing_zyx_mm)))
    assert not result.labels.any()
    assert NOTHING_FOUND in result.notes


def test_kidneys_of_the_embedded_model_hold_no_fat(unseen_ct, unseen_labels):
    for structure in by_names(["left_kidney", "right_kidney", "spleen"]):
        inside = unseen_ct.hu[unseen_labels == structure.value]
        assert len(inside) and inside.min() >= -50, structure.name


def test_the_embedded_model_runs_within_its_bounds_on_a_real_ct(the_embedded_one, real_cts):
    from flareseg.io.files import read_volume

    volume = read_volume(real_cts / "ts_example_3mm" / "ct.nii.gz")
    result = the_embedded_one.segment(volume)
    found = {structure.name for structure in result.present()}
    assert {"liver", "spleen", "right_kidney", "left_kidney", "aorta", "stomach"} <= found


def test_a_preview_comes_before_the_result_and_lies_where_the_result_lies(the_embedded_one):
    phantom = make_phantom(3, spacing_zyx_mm=(3.0, 2.0, 2.0), view="abdomen")
    tilt = as_rows(np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1]]))
    hu = np.ascontiguousarray(phantom.hu)
    volume = Volume(hu, Geometry(hu.shape, phantom.spacing_zyx_mm, (9.0, 8.0, 7.0), tilt))
    straight = Volume(hu, Geometry(hu.shape, phantom.spacing_zyx_mm))
    stages, shown = [], []

    class Listener:
        def stage(self, name, fraction):
            stages.append(name)

        def message(self, text):
            pass

    def preview(coarse):
        shown.append(coarse)
        assert "network" not in stages

    result = the_embedded_one.segment(straight, preview=preview, progress=Progress(Listener()))
    [coarse] = shown
    assert coarse.labels.size < result.labels.size / 8
    for value in (1, 3):
        middles = [
            np.array(part.geometry.world_of(tuple(np.argwhere(part.labels == value).mean(0))))
            for part in (coarse, result)
        ]
        assert np.linalg.norm(middles[0] - middles[1]) < 15  # mm, two and a half voxels of the coarse grid
    corner = coarse.geometry.world_of((-0.5, -0.5, -0.5))
    step = coarse.geometry.spacing_zyx_mm
    whole = straight.geometry
    assert all(low >= -mm / 2 - 1e-6 for low, mm in zip(corner[::-1], whole.spacing_zyx_mm, strict=True))
    assert all(5 < mm < 7 for mm in step)
    the_embedded_one.segment(volume, preview=shown.append)
    assert shown[1].labels.any()


def test_a_preview_shows_only_what_is_wanted(the_embedded_one, a_patient):
    volume = Volume(a_patient.hu, Geometry(a_patient.hu.shape, a_patient.spacing_zyx_mm))
    shown = []
    the_embedded_one.segment(volume, structures=by_names(["liver", "spleen"]), preview=shown.append)
    assert set(np.unique(shown[0].labels)) <= {0, 1, 3}
    assert (shown[0].labels == 1).any()
